"""One update of a decoder, or of an adapter beside it: one compiled program."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree

from ila_jax.models import decoder as decoder_lib
from ila_jax.models import lora as lora_lib
from ila_jax.models import losses


def shardings(
  tree: PyTree, mesh: Mesh, lora: lora_lib.LoraConfig | None
) -> PyTree:
  """Where a state lies: by the table of what is trained.

  >>> mesh = jax.make_mesh((1, 1, 1), ("data", "fsdp", "tensor"))
  >>> shardings({"embedding": jnp.ones((4, 2))}, mesh, None)["embedding"].spec
  P('tensor', 'fsdp')
  """
  place = decoder_lib.shardings if lora is None else lora_lib.shardings
  return place(tree, mesh)


def first_state(
  optimizer: optax.GradientTransformationExtraArgs, params: PyTree
) -> PyTree:
  """The state of step 0: `params` in float32, copied, and `optimizer`.

  >>> state = first_state(optax.sgd(1.0), {"w": jnp.ones(2, jnp.bfloat16)})
  >>> state["params"]["w"].dtype
  dtype('float32')
  """
  # Copies: the caller's decoder must outlive the donation of the state.
  params = jax.tree.map(lambda p: jnp.array(p, jnp.float32), params)
  return {"params": params, "optimizer": optimizer.init(params)}


def _summed(
  gradient: Callable[..., PyTree], params: PyTree, batch: dict[str, Array]
) -> PyTree:
  """The loss, its targets and its gradient, of all micro-batches together.

  Args:
    gradient: of parameters, rows and the number of targets that divides their
      loss, those of the rows where it is left out.
    params: that the gradient is of.
    batch: as of `train_step`.
  """
  if batch["tokens"].ndim == 2:
    return gradient(params, batch)
  # Micro-batches have unequal numbers of targets: no mean of means.
  count = batch["targets"].sum()

  def add(summed: PyTree, rows: dict[str, Array]) -> tuple[PyTree, None]:
    return jax.tree.map(jnp.add, summed, gradient(params, rows, count)), None

  nothing = jax.tree.map(jnp.zeros_like, params)
  nothing = (jnp.float32(0), jnp.zeros_like(count)), nothing
  parts = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), batch)
  return jax.lax.scan(add, nothing, parts)[0]


def update(
  graphdef: nnx.GraphDef,
  optimizer: optax.GradientTransformationExtraArgs,
  lora: lora_lib.LoraConfig | None,
  state: PyTree,
  base: PyTree,
  batch: dict[str, Array],
  learning_rate: Float[Array, ""],
  place: Callable[[PyTree], PyTree] = lambda state: state,
) -> tuple[PyTree, dict[str, Array]]:
  """One update as a part of a program; arguments and results of `train_step`.

  A batch without a target has a loss that is not a number. `place` says where
  the new state lies.
  """

  def mean_loss(
    params: PyTree, rows: dict[str, Array], of_step: Array | None = None
  ) -> tuple[Array, Array]:
    decoder = nnx.merge(graphdef, params if lora is None else base)
    hidden = decoder.hidden(
      rows["tokens"],
      rows["positions"],
      rows["segment_ids"],
      adapters=None if lora is None else lora_lib.stack(lora, [params]),
    )
    nll = losses.token_nll(
      hidden,
      decoder.head_weights(),
      rows["tokens"],
      rows["targets"],
      softcap=decoder.config.final_softcap,
    )
    count = rows["targets"].sum()
    return nll.sum() / (count if of_step is None else of_step), count

  (loss, count), grads = _summed(
    jax.value_and_grad(mean_loss, has_aux=True), state["params"], batch
  )
  updates, moments = optimizer.update(
    grads, state["optimizer"], state["params"], learning_rate=learning_rate
  )
  new = {
    "params": optax.apply_updates(state["params"], updates),
    "optimizer": moments,
  }
  new = place(new)
  grad_norm = optax.tree.norm(grads)
  return new, {"loss": loss, "grad_norm": grad_norm, "tokens": count}


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=4)
def train_step(
  graphdef: nnx.GraphDef,
  optimizer: optax.GradientTransformationExtraArgs,
  mesh: Mesh,
  lora: lora_lib.LoraConfig | None,
  state: PyTree,
  base: PyTree,
  batch: dict[str, Array],
  learning_rate: Float[Array, ""],
) -> tuple[PyTree, dict[str, Array]]:
  """One update; compiled once for a model, an optimizer and a batch shape.

  Args:
    graphdef: structure of the decoder.
    optimizer: from `optim.adamw`, whose rate comes per update.
    mesh: the state stays sharded on it as it came.
    lora: of the adapter that is trained; None trains the whole decoder.
    state: `params` (of the decoder, or of the adapter) and `optimizer`,
      float32; donated.
    base: the weights beside which the adapter is trained, in any dtype; they
      get no gradient and stay where they are. Empty where `lora` is None.
    batch: tokens, positions, segment_ids, targets, each [b, t]; or [b, k, t]
      of k micro-batches, whose gradients are added up one after the other: the
      step is that of their b · k rows, and holds the activations of b.
    learning_rate: float32; not a part of the program.

  Returns:
    The new state, and loss (nats per target), grad_norm (before clipping) and
    tokens (number of targets), all before the update.

  See `loop.train`, which calls it, and `tests/train_test.py`.
  """

  def place(state: PyTree) -> PyTree:
    # Shardings that drift from step to step would compile the step again.
    return jax.lax.with_sharding_constraint(state, shardings(state, mesh, lora))

  return update(
    graphdef, optimizer, lora, state, base, batch, learning_rate, place
  )

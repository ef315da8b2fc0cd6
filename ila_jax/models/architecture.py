"""What a decoder is made of, in numbers, and what they cost."""

import dataclasses

from ila_jax import errors
from ila_jax.models import rotary

ACTIVATIONS = ("silu", "gelu_pytorch_tanh")


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """Sizes of a decoder, what its family adds to Llama, and how it computes.

  Attributes:
    vocab: number of tokens v.
    layers: number of blocks.
    width: width of the residual stream d.
    heads: query heads of a block.
    kv_heads: key and value heads; divides `heads`.
    head_dim: width of a head; even, for the rotation works on pairs.
    mlp_width: hidden width of the gated MLP.
    activation: of the MLP's gate; one of `ACTIVATIONS`.
    norm_eps: added to the mean square in RMS norms.
    norm_plus_one: norms scale by 1 + their weight (Gemma).
    sandwich_norms: branches are normed before and after (Gemma).
    qk_norm: the heads of queries and keys are normed (Qwen3, Gemma 3).
    qkv_bias: query, key and value have biases (Qwen2).
    output_bias: the attention's output has a bias.
    mlp_bias: the MLP's matrices have biases.
    embedding_scale: multiplies the embeddings, in the compute dtype (Gemma).
    attention_scale: of the attention scores; 1 / sqrt(head_dim) where None.
    attention_softcap: bound of the attention scores (Gemma 2).
    final_softcap: bound of the logits (Gemma 2).
    rope: how positions turn queries and keys.
    local_rope: likewise in local layers; as `rope` where None (Gemma 3).
    window: tokens that a token of a local layer sees, itself included; None
      where no layer is local.
    local_layers: which layers are local; all where empty and `window` is set.
    tied: whether the output head is the embedding table.
    max_positions: positions that the model was made for.
    dtype: of activations and matrix products; softmax and norms are float32.
    param_dtype: of the weights as they are held.
    remat: recompute each block in the backward pass, to save memory.
    attention: kernel of the attention, one of `attention.KERNELS`.
    family: Hugging Face's model_type to be written as; where None, the
      simplest that has all this. It changes no number.

  Raises:
    errors.InputError: sizes below 1, or that do not fit each other.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> DecoderConfig(**sizes, head_dim=5, mlp_width=16)
  Traceback (most recent call last):
  ila_jax.errors.InputError: decoder head_dim is 5; allowed: an even number...
  """

  vocab: int
  layers: int
  width: int
  heads: int
  kv_heads: int
  head_dim: int
  mlp_width: int
  activation: str = "silu"
  norm_eps: float = 1e-5
  norm_plus_one: bool = False
  sandwich_norms: bool = False
  qk_norm: bool = False
  qkv_bias: bool = False
  output_bias: bool = False
  mlp_bias: bool = False
  embedding_scale: float = 1.0
  attention_scale: float | None = None
  attention_softcap: float | None = None
  final_softcap: float | None = None
  rope: rotary.Rope = rotary.DEFAULT
  local_rope: rotary.Rope | None = None
  window: int | None = None
  local_layers: tuple[bool, ...] = ()
  tied: bool = True
  max_positions: int = 2048
  dtype: str = "float32"
  param_dtype: str = "float32"
  remat: bool = False
  attention: str = "blocked"
  family: str | None = dataclasses.field(default=None, compare=False)

  def __post_init__(self) -> None:
    """Checks that the sizes fit each other."""
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if field.type is int and value < 1:
        raise self._reject(field.name, "1 or more")
    if self.heads % self.kv_heads:
      raise self._reject(
        "kv_heads", f"a divisor of heads, which is {self.heads}"
      )
    if self.head_dim % 2:
      raise self._reject(
        "head_dim", "an even number, for rotary positions turn pairs"
      )
    if self.activation not in ACTIVATIONS:
      raise self._reject("activation", " or ".join(ACTIVATIONS))
    if self.window is not None and self.window < 1:
      raise self._reject("window", "1 or more, or None")
    if self.local_layers and len(self.local_layers) != self.layers:
      raise self._reject("local_layers", f"a flag for each of {self.layers}")
    if any(self.local_layers) and self.window is None:
      raise self._reject("window", "a number of tokens, for layers are local")

  def _reject(self, name: str, allowed: str) -> errors.InputError:
    return errors.InputError(
      f"decoder {name} is {getattr(self, name)!r}; allowed: {allowed}."
    )

  @property
  def local(self) -> tuple[bool, ...]:
    """Says of each layer whether it sees no more than the window.

    >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
    >>> DecoderConfig(**sizes, head_dim=4, mlp_width=16, window=3).local
    (True, True)
    """
    return self.local_layers or (self.window is not None,) * self.layers


def flops(
  config: DecoderConfig,
  *,
  tokens: int,
  attended: int,
  response_tokens: int,
) -> int:
  """Counts FLOPs of a forward pass's matrix products (a product-sum is 2).

  Args:
    config: sizes.
    tokens: tokens that pass the blocks.
    attended: pairs of a query and a key that it sees, over all tokens and all
      layers.
    response_tokens: tokens whose logits are computed.

  Returns:
    2·tokens·(weights of the blocks) + 4·attended·heads·head_dim
    + 2·response_tokens·v·d. A backward pass costs twice as much again.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> flops(config, tokens=1, attended=2, response_tokens=1)
  2880
  """
  queries = config.heads * config.head_dim
  keys = config.kv_heads * config.head_dim
  block = config.width * (2 * queries + 2 * keys + 3 * config.mlp_width)
  head = 2 * response_tokens * config.vocab * config.width
  return 2 * tokens * block * config.layers + 4 * attended * queries + head

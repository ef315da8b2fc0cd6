"""Hidden states of a layer against torch, in any layout and on any mesh."""

import numpy as np
import pytest
import torch

from ila_jax.compute import mesh as mesh_lib
from ila_jax.models.folders import weights
from ila_jax.passes import hidden, layouts
from tests.support import torch_models

_LENGTHS = (7, 1, 12, 2, 9)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
  """A Llama of torch, and the same one of ours."""
  theirs = torch_models.make_decoder("llama_gqa")
  folder = torch_models.save(theirs, tmp_path_factory.mktemp("model"))
  return theirs, weights.load_decoder(folder)[1]


@pytest.mark.parametrize(
  ("layers", "kind", "axes"),
  [
    (1, "buckets", (1, 1, 1)),
    (2, "pack", (2, 2, 2)),
    (None, "pack", (8, 1, 1)),
  ],
)
def test_states_of_a_layer_are_those_of_torch(pair, layers, kind, axes):
  theirs, decoder = pair
  rng = np.random.default_rng(0)
  vocab = decoder.config.vocab
  tokens = [rng.integers(0, vocab, n).astype(np.int32) for n in _LENGTHS]
  layout = layouts.choose(np.array(_LENGTHS), batch_tokens=64, kind=kind)
  mesh = mesh_lib.make(*axes, devices=mesh_lib.jax.devices()[: np.prod(axes)])
  seen = []
  for batch, found in hidden.of_examples(
    decoder, tokens, layers=layers, layout=layout, mesh=mesh
  ):
    for example, states in zip(batch.examples, found, strict=True):
      wanted = _of_torch(theirs, tokens[example], layers)
      np.testing.assert_allclose(
        states, wanted, atol=2e-5 * np.abs(wanted).max()
      )
      seen.append(example)
  assert sorted(seen) == list(range(len(_LENGTHS)))


def _of_torch(theirs, tokens, layers):
  """What goes into the layer after so many, or out of the final norm."""
  blocks, told = theirs.model.layers, {}
  after = len(blocks) if layers is None else layers
  following = theirs.model.norm if after == len(blocks) else blocks[after]
  hook = following.register_forward_hook(
    lambda _, given, made: told.update(given=given[0], made=made)
  )
  with torch.no_grad():
    theirs(torch.tensor(tokens[None].astype(np.int64)))
  hook.remove()
  return told["made" if layers is None else "given"][0].numpy()

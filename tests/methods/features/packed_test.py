"""Bits in words on the devices, beside NumPy's."""

import numpy as np
import pytest

from ila_jax.compute import mesh
from ila_jax.methods.features import packed


@pytest.mark.parametrize("latents", [1, 8, 32, 37, 200])
def test_words_hold_the_bits_of_the_rows(latents, monkeypatch):
  monkeypatch.setattr(packed, "_BLOCK_ROWS", 4)
  bits = np.random.default_rng(latents).random((21, latents)) < 0.4
  features = np.packbits(bits, axis=1, bitorder="little")
  rows = np.array([20, 3, 3, 0, 7, 11, 1])
  words = packed.words(features, rows)
  assert len(words) == 8 and words.dtype == np.uint32  # On eight devices.
  held = mesh.fetch(words)
  back = np.unpackbits(held.view(np.uint8), axis=1, bitorder="little")
  np.testing.assert_array_equal(back[:7, :latents], bits[rows])
  assert not back[:, latents:].any()
  on = mesh.fetch(packed.count_each(words))
  np.testing.assert_array_equal(on[:7], bits[rows].sum(axis=1))


def test_each_host_reads_only_what_it_is_asked_for():
  """As of a reader of files, whose rows are read by their places."""

  class Reader:
    def __init__(self):
      self.read = []

    def __getitem__(self, places):
      self.read.append(places.tolist())
      return np.full((len(places), 4), 255, np.uint8)

  reader = Reader()
  own = packed._Words(reader, np.arange(100, 200))
  assert own[np.array([5, 7])].tolist() == [[2**32 - 1]] * 2
  assert {place for some in reader.read for place in some} == {105, 107}

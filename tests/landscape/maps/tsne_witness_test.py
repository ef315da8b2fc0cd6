"""Our t-SNE beside openTSNE and scikit-learn, on data of many kinds.

All three maps are judged by one witness in float64 that has no code of ours:
the same P, the same KL, the same neighbours. What it says of theirs is kept in
a file (`tests.benchmarks.tsne_rivals`); of one kind they are fitted here.
"""

import json

import jax
import numpy as np
import pytest

from ila_jax.landscape.maps import affinities, tsne
from ila_jax.landscape.trust import agreement
from tests.benchmarks import tsne as witness
from tests.benchmarks import tsne_rivals
from tests.support import tsne_data

RIVALS = json.loads(tsne_rivals.FILE.read_text())


@pytest.fixture(autouse=True)
def _programs_for_all(monkeypatch):
  """As many pairs of all data, filled up by zeros: programs are compiled once.

  A point has 182 pairs in the mean at most, and a row holds 32.
  """
  cut = affinities.cut

  def filled(joint, *, mesh=None):
    pairs = jax.device_get(cut(joint, mesh=mesh))
    return jax.tree.map(lambda a: affinities._filled(a, 7 * tsne_data.N), pairs)

  monkeypatch.setattr(affinities, "cut", filled)


@pytest.mark.parametrize("kind", tsne_data.MADE)
def test_made_data(kind):
  _check(kind, tsne_data.made(kind))


@pytest.mark.parametrize("pool", tsne_data.BY_LSA)
def test_prompts_by_lsa(shared, pool):
  _check(pool, tsne_data.by_lsa(shared / "data", pool))


def test_prompts_by_minilm(shared, minilm):
  pytest.importorskip("transformers")
  x = tsne_data.by_minilm(shared / "data", minilm)
  _check(tsne_data.BY_MINILM, x)


def _check(kind, x):
  """A KL at most 1 % above the better of the two, as many neighbours kept."""
  theirs = dict(RIVALS[kind])
  # Of other data their maps are to be fitted and judged again.
  distance = tsne_rivals.distance(x)
  assert distance == pytest.approx(theirs.pop("distance"), rel=1e-3)
  assert set(theirs) == {"scikit-learn", "openTSNE"}
  found = tsne.fit(x, perplexity=witness.PERPLEXITY, key=jax.random.key(0))
  ours = witness.judge(x, {"ours": found.xy})["ours"]
  print(ours, theirs)
  np.testing.assert_allclose(found.kl, ours["kl"], rtol=2e-3)
  assert ours["kl"] <= 1.01 * min(judged["kl"] for judged in theirs.values())
  kept = max(judged["kept"] for judged in theirs.values())
  assert ours["kept"] >= kept - 0.01
  told = {"kl": found.kl, "kl_of_one_place": found.kl_of_one_place}
  assert agreement.fault(x, found.xy, kept=ours["kept"], **told) is None


def test_what_is_kept_of_the_others_is_what_they_do():
  pytest.importorskip("openTSNE")
  x = tsne_data.made("digits")
  for name, judged in witness.judge(x, tsne_rivals.maps(x)).items():
    kept = RIVALS["digits"][name]
    assert judged["kl"] == pytest.approx(kept["kl"], rel=0.02)
    assert judged["kept"] == pytest.approx(kept["kept"], abs=0.02)

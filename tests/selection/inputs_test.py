"""What methods read beyond columns is what the run has written."""

import numpy as np
import pytest
from etils import epath

from ila_jax import errors, pipeline
from ila_jax.embed import rows as rows_lib
from ila_jax.pool import shards
from ila_jax.run import stage_record, tables
from ila_jax.run.disk import files
from ila_jax.score.signals import table as signals_table
from ila_jax.selection import inputs, scored_pool
from tests.support import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run up to its landscape: (config, workdir, candidates' inputs)."""
  folder = tmp_path_factory.mktemp("run")
  config = tiny.config(
    tiny.write(folder / "pool.jsonl", tiny.records(240)),
    pool__fields__labels="tags",
  )
  workdir = epath.Path(folder / "work")
  stages = ("pool", "embed", "score", "landscape")
  pipeline.run(config, workdir, stages=stages)
  return workdir, scored_pool.load(tiny.run(config, workdir))


def test_all_are_named(run):
  _, pool = run
  wanted = {*inputs.READERS, *signals_table.SIGNALS}
  assert set(pool.candidates.inputs) == wanted
  assert len(pool.candidates.inputs) == len(wanted)


def test_columns_of_scores_and_of_the_index(run):
  workdir, pool = run
  found = pool.candidates.inputs
  scores = files.read_table(workdir / "score/scores.parquet")
  index = files.read_table(workdir / "pool/index.parquet")
  place = {row: at for at, row in enumerate(scores["row"].tolist())}
  for name in ("nll_base", "nll_sft"):
    wanted = [scores[name][place[row]] for row in pool.row.tolist()]
    np.testing.assert_array_equal(found[name], wanted)
  for name in ("prompt_id", "n_labels", "n_prompt_tokens"):
    np.testing.assert_array_equal(found[name], index[name][pool.row])
  dev = found["dev"]
  np.testing.assert_array_equal(dev, index["split"][pool.row] == "dev")
  assert dev.sum() > 0 and not (dev & pool.candidates.candidate).any()


def test_records_and_embeddings_are_read_place_by_place(run):
  workdir, pool = run
  found = pool.candidates.inputs
  places = np.random.default_rng(0).permutation(len(pool.row))[:150]
  rows = pool.row[places]
  np.testing.assert_array_equal(
    found["embeddings"][places], rows_lib.load(workdir, rows)
  )
  table = shards.gather(workdir, rows, ["turns", "tokens", "is_response"])
  assert found["turns"][places] == shards.turns_of(table)
  tokens = found["tokens"][places]
  assert [ids.tolist() for ids in tokens.tokens] == table["tokens"].to_pylist()
  assert [mask.tolist() for mask in tokens.is_response] == (
    table["is_response"].to_pylist()
  )
  assert len(found["tokens"]) == len(found["turns"]) == len(pool.row)


def test_bits_are_read_place_by_place(run):
  """A signal of bits is not held whole, as that of numbers is."""
  workdir, pool = run
  rows = len(files.read_table(workdir / "pool/index.parquet", ["id"])["id"])
  bits = np.random.default_rng(0).integers(0, 256, (rows, 6)).astype(np.uint8)
  size = len(files.read_table(workdir / "pool/records-00000.parquet")["row"])
  for shard in range(shards.count(workdir)):
    part = bits[shard * size : (shard + 1) * size]
    path = tables.SIGNAL.path(workdir, name="sae_features", shard=shard)
    files.write_array(path, part)
  record = workdir / "signals/sae_features" / stage_record.RECORD
  with pytest.raises(errors.InputError, match="sae_features"):
    pool.candidates.inputs["sae_features"]
  files.write_json(record, {"done": True, "output": "made by hand"})
  found = pool.candidates.inputs["sae_features"]
  places = np.random.default_rng(1).permutation(len(pool.row))[:90]
  got = found[places]
  assert got.dtype == np.uint8
  np.testing.assert_array_equal(got, bits[pool.row[places]])

"""Names of labels, embedded by what has embedded the prompts."""

import numpy as np
from etils import epath

from ila_jax import pipeline
from ila_jax.embed import texts
from ila_jax.run import stage_record
from ila_jax.score import tag_embeddings
from ila_jax.score.signals import example_signal, tags
from ila_jax.selection import inputs
from tests.support import artifacts, tiny


def test_each_tag_has_the_embedding_of_its_name(tmp_path, monkeypatch, capsys):
  """By LSA, which knows words of the prompts and not `poetry`."""
  rows = tiny.records(60)
  for i, row in enumerate(rows):
    row["tags"] = ["Sine", "a river", "poetry", "bread"][: i % 5]
  config = tiny.config(
    tiny.write(tmp_path / "pool.jsonl", rows),
    pool__fields__labels="tags",
    pool__dev_examples=5,
    score__reference_examples=5,
  )
  workdir = epath.Path(tmp_path / "work")
  pipeline.run(config, workdir, stages=["pool", "embed"])
  run = tiny.run(config, workdir)
  example_signal.run(tags.SIGNAL, run)
  names = ["a river", "bread", "poetry", "sine"]
  assert tags.names(workdir) == names
  monkeypatch.setattr(tag_embeddings, "_PART", 3)  # Two files.
  tag_embeddings.run(run)
  assert "reads nothing of 1 of 4 tags" in capsys.readouterr().err
  found = inputs.Inputs(workdir, np.arange(3))[tag_embeddings.NAME]
  wanted, _ = texts.again(run)(names)
  wanted[2] = 0
  np.testing.assert_allclose(found, wanted, atol=1e-6)
  norms = np.linalg.norm(found, axis=1)
  np.testing.assert_allclose(norms, [1, 1, 0, 1], atol=1e-6)
  assert artifacts.faults(workdir) == []
  # Done, it is skipped; a file that is lost is made again, and no other.
  record = workdir / "beside/tag_embeddings/stage.json"
  before = record.read_text()
  tag_embeddings.run(run)
  assert record.read_text() == before
  (record.parent / "embed/embeddings-00001.npy").unlink()
  tag_embeddings.run(run)
  again = inputs.Inputs(workdir, np.arange(3))[tag_embeddings.NAME]
  np.testing.assert_array_equal(again, found)
  known = stage_record.read_record(record.parent)
  assert (known["tags"], known["unread"]) == (4, 1)

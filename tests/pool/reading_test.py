"""How the records of a run are read, and those of a target set beside it."""

import pytest

from ila_jax import errors
from ila_jax.pool import reading
from tests.support import tiny


def test_a_target_set_needs_no_labels(tmp_path):
  rows = [{"instruction": f"Add {i}.", "output": "Done."} for i in range(3)]
  target = tiny.write(tmp_path / "target.jsonl", rows)
  labelled = [row | {"kinds": ["sums"]} for row in rows]
  config = tiny.config(
    tiny.write(tmp_path / "pool.jsonl", labelled),
    pool__fields__labels="kinds",
    select__target=str(target),
  )
  assert [one.n_labels for one in reading.examples(config)] == [1] * 3
  assert len(list(reading.examples(reading.as_target(config)))) == 3
  # A field that the pool lacks is a mistake, as before.
  with pytest.raises(errors.InputError, match=r"fields\.labels is 'kinds'"):
    list(
      reading.examples(tiny.config(str(target), pool__fields__labels="kinds"))
    )

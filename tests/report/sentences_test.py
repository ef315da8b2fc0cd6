"""Sentences of the report: what the answer is told with."""

import pytest
from etils import epath

from ila_jax.report import sentences

_MICRO = {"value": -0.031, "low": -0.049, "high": -0.012}
_RIVAL = {"strategy": "random", "equal": "tokens", "micro": _MICRO}
_COMPARED = {
  "strategy": "ila",
  "chance": "random",
  "groups": 300,
  "gain": 0.2,
  "rivals": [_RIVAL | {"macro": _MICRO}],
}


@pytest.mark.parametrize(
  ("select", "named"),
  [
    ({"strategy": "ila"}, None),
    ({"strategy": "ila", "target": "t.jsonl"}, None),  # It changes nothing.
    (
      {"strategy": "ila", "target": "t.jsonl", "cell_weight": "target"},
      "config.select.target",
    ),
    (
      {"strategy": "target_nearest", "target": "t.jsonl", "where": "q > 1"},
      "config.select.target and config.select.where",
    ),
    ({"strategy": "random", "where": "q > 1"}, "config.select.where"),
  ],
)
def test_what_the_dev_examples_do_not_tell(
  tmp_path, monkeypatch, select, named
):
  monkeypatch.setattr(sentences, "comparison", lambda workdir: _COMPARED)
  records = {
    "finetune": {},
    "select": {"inputs": {"config": {"select": select}}},
  }
  first, *rest = sentences.answer(epath.Path(tmp_path), records)
  assert first.startswith("ila helped")
  said = [line for line in rest if "a random part of the whole pool" in line]
  assert len(said) == bool(named)
  if named:
    assert f"made for {named}, and" in said[0]

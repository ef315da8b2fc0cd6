"""The scan beside the tuning that it serves."""

from ila_jax.advice import cost, line


def _compared(scan=4e9, tuning=2e9):
  return cost.compared(
    scan_flops=scan, scan_seconds=8.0, tuning_flops=tuning, epochs=2.0
  )


def test_a_scan_that_costs_more_than_it_serves_is_told():
  found = _compared()
  assert (found.number, found.verdict) == (2.0, line.CAUTION)
  assert "2.0 times the tuning" in found.sentence
  assert "config.pool.limit" in found.sentence
  assert "config.model.path" in found.sentence
  found = _compared(scan=2e9)
  assert (found.number, found.verdict) == (1.0, line.OK)
  assert "config.pool.limit" not in found.sentence


def test_a_cost_that_is_not_known_is_no_number():
  assert _compared(tuning=None).verdict == line.UNKNOWN
  assert "cannot be read here" in _compared(tuning=None).sentence
  assert "nothing to tune on" in _compared(tuning=0.0).sentence
  assert "recorded no FLOPs" in _compared(scan=0.0).sentence

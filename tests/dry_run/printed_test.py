"""What a dry run says of methods beside each other."""

from ila_jax.dry_run import printed
from ila_jax.forecast import costs


def test_each_method_has_a_line_the_longest_first(capsys):
  parts = (
    costs.Part("kcenter", 2.0, 3e9, 0.0),
    costs.Part("sae_greedy", 120.0, 0.0, 5e6),
  )
  one = costs.Cost(2.0, parts=parts[:1])
  both = one.and_also(costs.Cost(120.0, parts=parts[1:]))
  printed._parts({"score": costs.Cost(9.0), "select": both})
  title, first, second = capsys.readouterr().err.strip().splitlines()
  assert title.split() == [
    *("methods", "of", "select", "compute", "memory", "read", "time"),
  ]
  assert first.split() == ["sae_greedy", "5.00", "MB", "2", "min", "00", "s"]
  assert second.split() == ["kcenter", "3.00", "GFLOP", "2.0", "s"]
  # The line of the stage says the same of one alone.
  printed._parts({"select": one})
  assert not capsys.readouterr().err

"""What stage `report` writes, by hand."""

import dataclasses

from ila_jax.report import map_page, plan
from tests.support import planned


def test_the_map_has_so_many_dots():
  def kept(examples):
    known = dataclasses.replace(planned.known(), examples=examples)
    return plan.need(known).kept

  most = map_page.MAX_POINTS
  assert kept(most) - kept(most - 1000) == 240_000
  assert kept(2 * most) == kept(most)

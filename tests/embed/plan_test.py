"""What stage `embed` writes, by hand; dry_run_test.py has what it takes."""

import pytest

from ila_jax.embed import plan
from tests.support import planned


def test_the_embeddings_are_most_of_it():
  # 16 numbers of 4 bytes each, or as many as the base is wide.
  lsa = plan.need(planned.known(encoder__path="lsa"))
  assert lsa.kept == pytest.approx(10_000 * (64 + 20), rel=0.5)
  base = plan.need(planned.known(encoder__path="base"))
  assert base.kept - lsa.kept == 10_000 * 4 * (1024 - 16)
  assert not base.passing


def test_lsa_takes_the_host_alone():
  cost = plan.cost(planned.run(encoder__path="lsa"))
  assert cost.seconds > 0 and cost.flops == cost.device_bytes == 0

"""ZIP-FIT: examples that compress well together with those of a target set.

Obbad et al., "ZIP-FIT: Embedding-Free Data Selection via Compression-Based
Alignment", arXiv 2410.18194. Of an example x and a target example t,
NCD = (C(x + t) - min(C(x), C(t))) / max(C(x), C(t)), C being the bytes of a
text after gzip, and x + t one text, the example first. The score is 1 - the
mean NCD over the target examples. gzip is at level 9, its default: the package
zip-fit takes level 0 unless told, at which nothing is compressed.

Compressions are as many as candidates times target examples, on the host's
cores: 20 to 50 microseconds each for texts of some hundred letters, an hour or
so of one core for a million candidates and a hundred target examples. So no
more than `most_targets` of the target examples are used, which the authors do
not limit; they are drawn by id.
"""

import dataclasses
import zlib
from collections.abc import Sequence
from concurrent import futures

import numpy as np
from jaxtyping import Float, Int

from ila_jax.methods import candidates, method
from ila_jax.methods import options as options_lib
from ila_jax.methods.target import texts
from ila_jax.run import draws, progress

# zlib writes the format of gzip, with a window of 32 KB.
_GZIP = 16 + 15


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(options_lib.Options):
  """What is compressed, and how hard."""

  text: str = options_lib.field(
    "all", "what counts of an example", choices=tuple(texts.PARTS)
  )
  level: int = options_lib.field(
    9, "of gzip, from the quickest to the smallest", low=1, high=9
  )
  most_targets: int = options_lib.field(
    100, "target examples that are used, at most", low=1, high=10**9
  )


def size(text: bytes, level: int) -> int:
  """Bytes of a text after gzip.

  >>> size(b"a" * 1000, 9) < 40
  True
  """
  return len(zlib.compress(text, level, wbits=_GZIP))


def rank(c: candidates.Candidates, options: Options) -> candidates.Ranking:
  """What compresses best with the target examples first; all in round 1."""
  rows = np.flatnonzero(c.candidate)
  if not len(rows):
    return candidates.Ranking(rows, rows)
  drawn = draws.choose(
    np.asarray(c.inputs["target_id"]),
    count=options.most_targets,
    seed=c.seed,
    purpose="zip_fit",
  )
  targets = [
    text.encode("utf-8", "surrogatepass")
    for block in texts.blocks(c.inputs["target_turns"], drawn, options.text)
    for text in block
  ]
  total = len(c.inputs["target_id"])
  progress.say(
    f"  zip_fit: {len(rows):,} candidates × {len(drawn):,} of {total:,} target "
    f"examples = {len(rows) * len(drawn):,} compressions"
    + (
      "; config.select.options.zip_fit.most_targets takes more"
      if len(drawn) < total
      else ""
    )
  )
  score = np.zeros(len(c.ids), np.float32)
  score[rows] = _scores(c.inputs["turns"], rows, targets, options)
  return candidates.ranking(c, (-score,))


def _scores(
  turns: object,
  rows: Int[np.ndarray, " n"],
  targets: Sequence[bytes],
  options: Options,
) -> Float[np.ndarray, " n"]:
  """1 - the mean NCD of each example; zlib runs beside other threads."""
  alone = np.array([size(target, options.level) for target in targets])

  def score(text: str) -> float:
    return alignment(
      text.encode("utf-8", "surrogatepass"), targets, alone, options.level
    )

  found: list[float] = []
  with (
    progress.counter(len(rows), desc="zip_fit", unit="examples") as advance,
    futures.ThreadPoolExecutor() as pool,
  ):
    for block in texts.blocks(turns, rows, options.text):
      for one in pool.map(score, block):
        found.append(one)
        advance(1)
  return np.array(found)


def alignment(
  text: bytes,
  targets: Sequence[bytes],
  alone: Int[np.ndarray, " m"],
  level: int,
) -> float:
  """1 - the mean NCD of a text to target texts.

  Args:
    text: of an example.
    targets: m of them.
    alone: bytes of each after gzip.
    level: of gzip.

  >>> near, far = b"3 + 4 = 7, so it is 7.", b"The Seine flows through Paris."
  >>> alone = np.array([size(near, 9)])
  >>> alignment(near, [near], alone, 9) > alignment(far, [near], alone, 9)
  True
  """
  own = size(text, level)
  both = np.array([size(text + target, level) for target in targets])
  ncd = (both - np.minimum(own, alone)) / np.maximum(own, alone)
  return float(1 - ncd.mean())


METHOD = method.Method(
  name="zip_fit",
  rank=rank,
  needs=("turns", "target_turns", "target_id"),
  options=Options,
  colour="#5e8c61",
)

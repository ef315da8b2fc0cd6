"""What the scan of the pool has cost, beside the tuning that it serves."""

from ila_jax.advice import line
from ila_jax.run import units

NAME = "cost"
# A scan that costs more than this many of the tunings that it serves.
MOST = 1.0


def compared(
  *,
  scan_flops: float,
  scan_seconds: float,
  tuning_flops: float | None,
  epochs: float,
) -> line.Line:
  """The scan against one tuning on the selection.

  Args:
    scan_flops: of stages embed and score, with the reference tunings.
    scan_seconds: of both.
    tuning_flops: of all epochs on the selection; None: the base is not here.
    epochs: of that tuning.

  >>> compared(scan_flops=4e9, scan_seconds=8.0, tuning_flops=2e9,
  ...   epochs=2.0).number
  2.0
  """
  spent = f"{units.si(scan_flops, 'FLOPs')} in {units.duration(scan_seconds)}"
  if not tuning_flops or not scan_flops:
    why = (
      f"the scan (embed and score) took {spent}, and the base of this run, by "
      "which the tuning is counted, cannot be read here. Put it back where "
      "config.model.path says."
    )
    if not scan_flops:
      why = "stages embed and score have recorded no FLOPs."
    elif tuning_flops == 0:
      why = "nothing is selected, so there is nothing to tune on."
    return line.unknown(NAME, why, threshold=MOST)
  ratio = scan_flops / tuning_flops
  said = (
    f"The scan (embed and score) took {spent}: {ratio:.1f} times the tuning "
    f"that it serves ({units.si(tuning_flops, 'FLOPs')} for {epochs:g} epochs "
    f"on the selection; worth it up to {MOST:g})"
  )
  if ratio > MOST:
    said += (
      ". Next time score a sample (config.pool.limit), or with a smaller model "
      "of the same tokenizer family (config.model.path), one reference seed "
      "(config.score.reference_seeds), and fewer config.score.epochs; the same "
      "selection also serves larger models and later tunings"
    )
  return line.Line(
    name=NAME,
    verdict=line.CAUTION if ratio > MOST else line.OK,
    sentence=said + ".",
    number=ratio,
    threshold=MOST,
    detail={
      "scan_flops": scan_flops,
      "scan_seconds": scan_seconds,
      "tuning_flops": tuning_flops,
    },
  )

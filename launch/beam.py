"""Reads a pool in an Apache Beam pipeline, for the run that merges it.

    python launch/beam.py --config my.py --workdir gs://bucket/run --runner=...

A worker of the pipeline reads a split as `ila pool --tasks i/N` does, into
`pool_splits/` of the folder, which all workers and the run must see. Flags that
are not known here go to Beam. A base from scratch has a tokenizer of its own,
which a run has to train first: `ila --stages=pool` there reads the pool itself.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

from etils import epath

from ila_jax import config as config_lib
from ila_jax import config_parsing, errors, presets
from ila_jax.pool.splits import job as job_lib
from ila_jax.pool.splits import shares, task
from ila_jax.pool.splits import splits as splits_lib

try:
  import apache_beam as beam
  from apache_beam.options import pipeline_options
except ImportError:
  sys.exit("beam.py needs Apache Beam: pip install 'ila_jax[beam]'")


class ReadSplit(beam.DoFn):
  """Reads a split, given as JSON; yields how many records it has."""

  def __init__(self, job: str, workdir: str):
    """Takes the job as text, which travels to the workers."""
    super().__init__()
    self._job, self._workdir = job, workdir

  def setup(self) -> None:
    """Loads the tokenizer, once in a worker."""
    self._parsed = job_lib.Job.from_text(self._job)
    self._tools = job_lib.tools(self._parsed)

  def process(self, element: str) -> Iterator[int]:
    """Reads one split, unless it is there and whole."""
    split = splits_lib.Split.from_plain(json.loads(element))
    root = epath.Path(self._workdir)
    if task.is_done(self._parsed, split, root):
      return
    yield task.run(self._parsed, self._tools, split, root)


def run(
  config: config_lib.Config, workdir: str, options: Sequence[str] = ()
) -> None:
  """Reads all splits of a pool by a pipeline.

  Args:
    config: of the run.
    workdir: of the run.
    options: of Beam, such as "--runner=DataflowRunner".

  Raises:
    errors.InputError: the base's tokenizer is not there yet, or as
      `shares.opened`.
  """
  if config.model.path == config_lib.SCRATCH:
    raise errors.InputError(
      "config.model.path is 'scratch', whose tokenizer is trained on the pool; "
      "allowed: a model's folder or name. Use ila pool --tasks i/N."
    )
  with shares.opened(config, workdir) as (job, splits):
    beam_options = pipeline_options.PipelineOptions(list(options))
    with beam.Pipeline(options=beam_options) as pipeline:
      _ = (
        pipeline
        | "splits" >> beam.Create([json.dumps(split) for split in splits])
        | "spread" >> beam.Reshuffle()
        | "read" >> beam.ParDo(ReadSplit(job.text(), workdir))
      )


def _check_no_field(options: Sequence[str]) -> None:
  """Refuses fields of a config, which Beam would drop with a warning."""
  for option in options:
    if option.startswith("--config."):
      raise errors.InputError(
        f"{option.partition('=')[0]} is a field of a config, and is not read "
        "here. Set it in the file that --config names; `ila "
        "--copy-preset=quickstart my.py` makes one."
      )


def main() -> int:
  """Reads the command line, and runs."""
  flags = argparse.ArgumentParser(
    prog="python launch/beam.py", allow_abbrev=False
  )
  flags.add_argument("--config", required=True, help="a preset or a file")
  flags.add_argument("--workdir", required=True, help="folder of the run")
  known, options = flags.parse_known_args()
  try:
    _check_no_field(options)
    config = config_parsing.parse(presets.load(known.config, place="--config"))
    run(config, known.workdir, options)
  except errors.InputError as error:
    print(f"beam.py: {error}", file=sys.stderr)
    return errors.BAD_INPUT
  return 0


if __name__ == "__main__":
  sys.exit(main())

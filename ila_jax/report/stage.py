"""Stage `report`: what the other stages found, on one page and in PNGs."""

from ila_jax.report import gather, page
from ila_jax.run import context, progress, stage_record, tables
from ila_jax.run.disk import checksums, files
from ila_jax.score.signals import scores


def run(run: context.Run) -> None:
  """Writes `report/index.html` and its figures, from the artifacts alone.

  Stages that have not run are said to be missing, on the page.
  """
  workdir = run.workdir
  noted = scores.noted(workdir)
  stage = stage_record.Stage(
    workdir,
    "report",
    {
      "stages": dict(gather.stage_outputs(workdir)),
      "stability": stage_record.fingerprint(gather.stability(workdir)),
      **({"scores": noted} if noted else {}),
    },
  )
  if not stage.begin(replace="all"):
    for name, content in page.render(gather.gather(run)).items():
      files.write_bytes(stage.folder / name, content)
    stage.finish()
  for sentence in gather.headline(workdir, gather.stage_records(workdir)):
    progress.answer(f"  {sentence}")
  progress.answer(f"  the report: {tables.PAGE.path(workdir)}")
  for what, path in (
    ("map to explore", tables.MAP_PAGE.path(workdir)),
    ("selection", tables.SELECTED.path(workdir)),
    ("fine-tuned model", tables.MODEL.path(workdir)),
  ):
    if path.is_dir() or checksums.is_whole(path):
      progress.answer(f"  the {what}: {path}")

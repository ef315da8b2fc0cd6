"""Stage `report`: what the other stages found, on one page and in PNGs."""

from ila_jax.advice import finished_run
from ila_jax.compute import mesh
from ila_jax.report import gather, page, sentences
from ila_jax.run import context, interrupts, progress, stage_record, tables
from ila_jax.run.disk import checksums, files
from ila_jax.score.signals import scores


def run(run: context.Run) -> None:
  """Writes `report/index.html` and its figures, from the artifacts alone.

  Stages that have not run are said to be missing, on the page. The last line
  that is said tells whether the selection helped.
  """
  workdir = run.workdir
  noted = scores.noted(workdir)
  advised = finished_run.made_from(workdir)
  stage = stage_record.Stage(
    workdir,
    "report",
    {
      "stages": dict(gather.stage_outputs(workdir)),
      "stability": stage_record.fingerprint(gather.stability(workdir)),
      # Of rivals, which are no part of what stage `select` made.
      "coverage": stage_record.fingerprint(gather.coverage(workdir)),
      **({"scores": noted} if noted else {}),
      **({"advice": advised} if advised else {}),
    },
  )
  if not stage.begin(replace="all"):
    if mesh.is_writer():
      with interrupts.alone():
        for name, content in page.render(gather.gather(run)).items():
          files.write_bytes(stage.folder / name, content)
    stage.finish()
  records = gather.stage_records(workdir)
  for sentence in sentences.found(workdir, records):
    progress.answer(f"  {sentence}")
  progress.answer(f"  the report: {tables.PAGE.path(workdir)}")
  for what, path in (
    ("map to explore", tables.MAP_PAGE.path(workdir)),
    ("selection", tables.SELECTED.path(workdir)),
    ("fine-tuned model", tables.MODEL.path(workdir)),
  ):
    if path.is_dir() or checksums.is_whole(path):
      progress.answer(f"  the {what}: {path}")
  if "finetune" not in records and mesh.is_writer():
    advice = gather.advice(run)
    if advice is not None:
      progress.answer(f"  {advice.sentence}")
  # What was asked comes last, where it stays on the screen.
  answer, *more = sentences.answer(workdir, records)
  for sentence in (*more, answer):
    progress.answer(f"  {sentence}")

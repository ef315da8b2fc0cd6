"""When the page is made anew: whenever something that it shows has changed."""

import pytest

from ila_jax.report import stage as report_stage
from ila_jax.run import stage_record, tables
from ila_jax.run.disk import files
from ila_jax.score import early_losses
from ila_jax.score.signals import scores
from tests.support import tiny


@pytest.fixture
def pages(monkeypatch):
  """How often the page was made; nothing is read for it."""
  made = []

  def render(data):
    made.append(data)
    return {"index.html": b"a page"}

  monkeypatch.setattr(report_stage.page, "render", render)
  monkeypatch.setattr(report_stage.gather, "gather", lambda run: None)
  monkeypatch.setattr(report_stage.gather, "advice", lambda run: None)
  monkeypatch.setattr(report_stage.sentences, "found", lambda *_: [])
  monkeypatch.setattr(report_stage.sentences, "answer", lambda *_: ["done"])
  return made


def _finish(folder, name, inputs, **notes):
  stage = stage_record.Stage(folder, name, inputs)
  stage.begin(replace="all")
  stage.finish(**notes)


def _landscape(workdir, number):
  _finish(workdir, "landscape", {"made": number})


def _stability(workdir, number):
  files.write_json(tables.STABILITY.path(workdir), {"agreement": number})


def _coverage(workdir, number):
  files.write_json(tables.COVERAGE.path(workdir), {"table": [number]})


def _scores(workdir, number):
  noted = [{"name": "worth", "hash": str(number)}]
  _finish(workdir / "signals", scores.NAME, {}, scores=noted)


def _advice(workdir, number):
  _finish(workdir / "beside", early_losses.NAME, {"made": number})


@pytest.mark.parametrize(
  "change", [_landscape, _stability, _coverage, _scores, _advice]
)
def test_what_the_page_shows_makes_another(tmp_path, pages, change):
  run = tiny.run(tiny.config("none"), tmp_path)
  for name in ("landscape", "select"):
    _finish(run.workdir, name, {})
  for number in range(3):  # None is there at first.
    if number:
      change(run.workdir, number)
    for _ in range(2):
      report_stage.run(run)
      assert len(pages) == number + 1
  assert (tmp_path / "report/index.html").read_bytes() == b"a page"

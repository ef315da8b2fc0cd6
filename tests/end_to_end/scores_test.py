"""Scores of others, from the records and from a file to the selection."""

import json
import os
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
from etils import epath

import ila_jax
from ila_jax import errors, pipeline
from ila_jax.dry_run import dry_run
from ila_jax.export import finished_run, huggingface
from ila_jax.report import map_points, others
from ila_jax.run.disk import files
from ila_jax.score.signals import scores
from tests.support import artifacts, tiny

_STAGES = ("pool", "embed", "score", "landscape", "select")
_SCORES = "quality, ifd=judge.ifd"

_made = artifacts.written


def _records():
  """As a judge scores them: few values, and some that it has not given."""
  rng = np.random.default_rng(0)
  return [
    record
    | {
      "uid": f"q{i}",
      "quality": int(rng.integers(1, 6)),
      "judge": {"ifd": None if i % 20 == 7 else f"{rng.random():.4f}"},
    }
    for i, record in enumerate(tiny.records(120))
  ]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  folder = tmp_path_factory.mktemp("source")
  return tiny.write(folder / "pool.jsonl", _records())


def _config(source, **overrides):
  fields = {
    "pool__shard_examples": 50,
    "score__reference_seeds": (0,),
    "landscape__projection": "pca",
    "landscape__grid": 3,
    "select__strategy": "depth_only",
    "select__compare": ("random",),
    "select__budget": 20.0,
    "select__unit": "examples",
    "finetune__compare": ("random",),
  }
  return tiny.config(source, **fields | overrides)


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
  """A finished selection that knows of no score."""
  workdir = tmp_path_factory.mktemp("run") / "work"
  pipeline.run(_config(source), workdir, stages=_STAGES)
  assert not (workdir / "signals").exists()
  return workdir


@pytest.fixture
def workdir(run, tmp_path):
  subprocess.run(["cp", "-rp", run, tmp_path / "work"], check=True)
  return tmp_path / "work"


def _frame(workdir):
  """The examples of the run, in the order of rows, with their scores."""
  index = files.read_table(workdir / "pool/index.parquet")
  texts = [
    text
    for path in sorted((workdir / "pool").glob("records-*.parquet"))
    for text in files.read_table(path, ["record"])["record"]
  ]
  frame = pd.DataFrame(map(json.loads, texts))
  frame["ifd"] = np.float32([row["ifd"] for row in frame.judge])
  names = ["id", "n_response_tokens", "n_prompt_tokens", "source"]
  return frame.drop(columns="source", errors="ignore").assign(
    **{name: index[name] for name in names}
  )


def _candidates(workdir, frame):
  """Rows that are neither dev nor reference."""
  split = files.read_table(workdir / "pool/index.parquet", ["split"])["split"]
  reference = files.read_table(workdir / "score/reference.parquet", ["row"])
  free = (split == "pool") & ~frame.index.isin(reference["row"])
  return np.flatnonzero(free)


def _chosen(workdir):
  count = files.read_json(workdir / "select/stage.json")["selected"]
  return files.read_table(workdir / "select/ranking.parquet")["row"][:count]


def test_a_filter_chooses_as_pandas_does(source, workdir, capsys):
  before = _made(workdir, "pool", "embed", "score", "landscape")
  text = "quality >= 3 and ifd > 0.25 and n_response_tokens < 60"
  config = _config(source, pool__fields__scores=_SCORES, select__where=text)
  with pytest.raises(errors.InputError, match="--redo=select"):
    pipeline.run(config, workdir, stages=_STAGES)
  pipeline.run(config, workdir, stages=_STAGES, redo="select")
  assert _made(workdir, "pool", "embed", "score", "landscape") == before
  frame = _frame(workdir)
  wanted = frame.loc[_candidates(workdir, frame)].query(text)
  ranking = files.read_table(workdir / "select/ranking.parquet")
  assert sorted(ranking["row"]) == wanted.index.tolist()
  depth = files.read_table(workdir / "landscape/cells.parquet")["depth"]
  order = np.lexsort((wanted.id, -depth[wanted.index]))
  assert _chosen(workdir).tolist() == wanted.index[order][:20].tolist()
  said = capsys.readouterr().err
  assert "ifd: 114 of 120 examples have one" in said
  assert "quality: 120 of 120 examples have one, 1 to 5" in said
  before = len(_candidates(workdir, frame))
  assert f"holds for {len(wanted)} of {before} candidates" in said
  # The same command has nothing to do.
  made = _made(workdir, *_STAGES, "signals")
  pipeline.run(config, workdir, stages=_STAGES)
  assert _made(workdir, *_STAGES, "signals") == made


def test_of_near_duplicates_one_that_is_let_in_stays(source, workdir, tmp_path):
  drop = {"select__drop_duplicates": True, "select__budget": 5.0}
  pipeline.run(_config(source, **drop), workdir, stages=_STAGES, redo="select")
  before = files.read_table(workdir / "select/ranking.parquet")
  frame = _frame(workdir)
  assert len(before["row"]) < len(_candidates(workdir, frame))
  ids = [f"{one:016x}" for one in frame.id]
  stood = np.isin(np.arange(len(frame)), before["row"])
  file = tmp_path / "others.parquet"
  pd.DataFrame({"id": ids, "other": ~stood}).to_parquet(file)
  config = _config(
    source, pool__scores=str(file), select__where="other == 1", **drop
  )
  pipeline.run(config, workdir, stages=_STAGES, redo="select")
  after = files.read_table(workdir / "select/ranking.parquet")
  assert len(after["row"]) >= 5 and not set(after["row"]) & set(before["row"])


def test_the_report_tells_of_a_filter(source, workdir):
  config = _config(
    source, pool__fields__scores=_SCORES, select__where="quality >= 2"
  )
  stages = (*_STAGES, "report")
  pipeline.run(config, workdir, stages=stages, redo="select")
  page = (workdir / "report/index.html").read_text()
  assert "Only candidates for which quality &gt;= 2 may be chosen" in page
  frame = _frame(workdir)
  free = frame.loc[_candidates(workdir, frame)]
  left = int((free.quality >= 2).sum())
  counted = f"{left} of {len(free)}; {len(free) - left} are left out."
  assert counted in page
  assert "K = 1" in page


def test_cells_that_are_few_for_a_filter_are_told(
  source, workdir, tmp_path, capsys
):
  # What is let in lies in a corner of the map.
  cells = files.read_table(workdir / "landscape/cells.parquet")
  frame = _frame(workdir)
  free = _candidates(workdir, frame)
  corner = free[np.argsort(cells["x"][free] + cells["y"][free])[:25]]
  file = tmp_path / "corner.parquet"
  ids = [f"{one:016x}" for one in frame.id[corner]]
  pd.DataFrame({"id": ids, "corner": 1}).to_parquet(file)
  config = _config(
    source,
    pool__scores=str(file),
    select__where="corner == 1",
    landscape__grid="auto",
  )
  stages = (*_STAGES, "report")
  pipeline.run(config, workdir, stages=stages, redo="landscape")
  said = capsys.readouterr().err
  told = re.search(
    r"the 25 candidates that config\.select\.where lets in lie in (\d+) cells "
    r"only, and 20 were chosen of them \(for more cells: "
    r"--config\.landscape\.grid=(\d+) --redo=landscape\)",
    said,
  )
  ranking = files.read_table(workdir / "select/ranking.parquet")
  assert len(np.unique(ranking["cell"])) == int(told[1]) <= 10
  page = (workdir / "report/index.html").read_text()
  assert told[0] in page
  # What it tells to do gives them more, and no more than the budget pays for.
  finer = _config(
    source,
    pool__scores=str(file),
    select__where="corner == 1",
    landscape__grid=int(told[2]),
  )
  pipeline.run(finer, workdir, stages=stages, redo="landscape")
  ranking = files.read_table(workdir / "select/ranking.parquet")
  assert int(told[1]) < len(np.unique(ranking["cell"])) <= 20
  assert (
    "were chosen of them" not in (workdir / "report/index.html").read_text()
  )


def test_a_score_is_a_depth_and_another_breaks_ties(source, workdir):
  before = _made(workdir, "pool", "embed", "score")
  config = _config(
    source,
    pool__fields__scores=_SCORES,
    landscape__depth="score:quality",
    select__tie_break="ifd",
    select__where="known(ifd)",
  )
  pipeline.run(config, workdir, stages=_STAGES, redo="landscape")
  assert _made(workdir, "pool", "embed", "score") == before
  frame = _frame(workdir)
  cells = files.read_table(workdir / "landscape/cells.parquet")
  np.testing.assert_array_equal(cells["depth"], frame.quality)
  assert np.isnan(cells["depth_std"]).all()
  free = frame.loc[_candidates(workdir, frame)].dropna(subset="ifd")
  order = np.lexsort((free.id, -free.ifd, -free.quality))
  assert _chosen(workdir).tolist() == free.index[order][:20].tolist()
  # Without it, ids decide.
  plain = _config(
    source,
    pool__fields__scores=_SCORES,
    landscape__depth="score:quality",
    select__where="known(ifd)",
  )
  pipeline.run(plain, workdir, stages=_STAGES, redo="select")
  order = np.lexsort((free.id, -free.quality))
  assert _chosen(workdir).tolist() == free.index[order][:20].tolist()
  # By the rounds of ILA, too.
  ila = _config(
    source,
    pool__fields__scores=_SCORES,
    landscape__depth="score:quality",
    select__strategy="ila",
    select__tie_break="ifd",
    select__where="known(ifd)",
  )
  pipeline.run(ila, workdir, stages=_STAGES, redo="select")
  free = free.assign(cell=cells["cell"][free.index])
  free = free.iloc[np.lexsort((free.id, -free.ifd, -free.quality))]
  free["round"] = free.groupby("cell").cumcount()
  order = np.lexsort((np.arange(len(free)), free["round"]))
  assert _chosen(workdir).tolist() == free.index[order][:20].tolist()


def test_what_has_no_depth_has_no_place(source, workdir, capsys):
  config = _config(
    source, pool__fields__scores=_SCORES, landscape__depth="score:ifd"
  )
  with pytest.raises(errors.InputError) as raised:
    pipeline.run(
      _config(
        source,
        pool__fields__scores=_SCORES,
        landscape__depth="score:ifd",
        pool__max_reject_fraction=0.01,
      ),
      workdir,
      stages=_STAGES,
      redo="landscape",
    )
  assert "6 of 120 examples have no score 'ifd'" in str(raised.value)
  assert "config.pool.max_reject_fraction: 0.01" in str(raised.value)
  assert (workdir / "select/selected.jsonl").exists()  # It was put back.
  pipeline.run(config, workdir, stages=(*_STAGES, "report"), redo="landscape")
  assert "6 of 120 examples have no score 'ifd' (the first is row 7" in (
    capsys.readouterr().err
  )
  frame = _frame(workdir)
  cells = files.read_table(workdir / "landscape/cells.parquet")
  assert cells["row"].tolist() == frame.index[frame.ifd.notna()].tolist()
  np.testing.assert_array_equal(cells["depth"], frame.ifd.dropna())
  page = (workdir / "report/index.html").read_text()
  (unread,) = re.findall(r"Not read: .*", page)
  assert "<code>weight</code>" in unread or "<code>tags</code>" in unread
  assert "judge" not in unread and "quality" not in unread
  assert "6 examples have no depth (config.landscape.depth is" in page
  assert "K = 1" not in page  # No label counts in such a depth.


def test_a_tie_break_that_some_lack_is_refused(source, workdir):
  config = _config(
    source, pool__fields__scores=_SCORES, select__tie_break="ifd"
  )
  with pytest.raises(errors.InputError) as raised:
    pipeline.run(config, workdir, stages=_STAGES, redo="select")
  said = str(raised.value)
  assert "have no such score (the first is row" in said
  assert "--config.select.where='known(ifd)'" in said


@pytest.mark.parametrize(
  ("where", "said"),
  [
    ("quality > 5", "holds for 0 of"),
    ("quality == 5 and ifd > 0.6", "config.select.budget is 20 examples"),
  ],
)
def test_a_filter_that_leaves_too_few(source, workdir, where, said):
  config = _config(source, pool__fields__scores=_SCORES, select__where=where)
  with pytest.raises(errors.InputError, match=said):
    pipeline.run(config, workdir, stages=_STAGES, redo="select")


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    ({"select__where": "quality > 5"}, r"holds for 0 of 70 candidates"),
    (
      {"select__where": "quality == 5 and ifd > 0.9 and depth > 0"},
      r"may hold for \d of 70 candidates, and config",
    ),
    (
      {
        "select__where": "quality == 5",
        "select__unit": "tokens",
        "select__budget": 1e5,
      },
      r"of [\d,]+ response tokens, and config\.select\.budget is 100,000 tok",
    ),
    (
      {"select__where": "domain in ['math']"},
      r"No example has a domain: name its field with --config\.pool\.fields",
    ),
    (
      {"select__where": "source == 'Pool'"},
      r"the source 'Pool'; there are 'pool' \(120\)\. Did you mean 'pool'",
    ),
    ({"select__tie_break": "ifd"}, "of 70 candidates have no such score"),
  ],
)
def test_what_leaves_too_few_is_told_before_a_model_runs(
  source, workdir, fields, said
):
  gone = [workdir / name for name in (*_STAGES[1:], "model")]
  subprocess.run(["rm", "-r", *gone], check=True)
  config = _config(source, pool__fields__scores=_SCORES, **fields)
  with pytest.raises(errors.InputError, match=said):
    pipeline.run(config, workdir, stages=_STAGES)
  assert not any(path.exists() for path in gone)


def test_a_text_that_no_example_has_is_told(source, workdir, capsys):
  """What a condition on depth leaves open is not refused."""
  text = "known(depth) and (depth > -9 or relative_depth == 2)"
  config = _config(source, select__where=f"{text} and source != 'pol'")
  pipeline.run(config, workdir, stages=_STAGES, redo="select")
  said = capsys.readouterr().err
  assert "where may hold for 70 of 70 candidates" in said
  assert "warning: config.select.where: No example has the source 'pol'" in said
  frame = _frame(workdir)
  ranking = files.read_table(workdir / "select/ranking.parquet")
  assert sorted(ranking["row"]) == _candidates(workdir, frame).tolist()


def test_a_file_of_scores_and_what_follows_from_it(
  source, workdir, tmp_path, capsys
):
  frame = _frame(workdir)
  file = tmp_path / "judged.parquet"

  def write(values):
    ids = [f"{one:016x}" for one in frame.id]
    pd.DataFrame({"id": ids, "reward": values, "unused": 1.0}).to_parquet(file)

  write(frame.index % 7)
  config = _config(
    source, pool__scores=str(file), select__where="reward in [1, 3, 5]"
  )
  kept = _made(workdir, "pool", "embed", "score", "landscape")
  pipeline.run(config, workdir, stages=_STAGES, redo="select")
  assert "reward: 120 of 120 examples have one, 0 to 6, 3" in (
    capsys.readouterr().err
  )
  chosen = _chosen(workdir)
  assert set(chosen % 7) <= {1, 3, 5}
  # Another file with the same rewards: they are read again, and no more.
  made = _made(workdir, "select")
  pd.read_parquet(file).assign(unused=2.0).to_parquet(file)
  pipeline.run(config, workdir, stages=_STAGES)
  assert _made(workdir, "select") == made
  noted = {one["name"]: one["median"] for one in scores.noted(workdir)}
  assert noted == {"reward": 3.0, "unused": 2.0}
  # A reward that has changed: what was selected by it is told.
  write((frame.index + 1) % 7)
  with pytest.raises(
    errors.InputError, match=r"scores\.reward was .* --redo=s"
  ):
    pipeline.run(config, workdir, stages=_STAGES)
  pipeline.run(config, workdir, stages=_STAGES, redo="select")
  assert set(_chosen(workdir) % 7) <= {0, 2, 4}
  assert _made(workdir, "pool", "embed", "score", "landscape") == kept
  # A file that is gone counts as it was.
  made = _made(workdir, *_STAGES, "signals")
  os.unlink(file)
  pipeline.run(config, workdir, stages=_STAGES)
  assert _made(workdir, *_STAGES, "signals") == made
  assert "taken to be what it was" in capsys.readouterr().err


def test_a_file_with_the_ids_of_the_records_alone(source, workdir, tmp_path):
  order = np.random.default_rng(0).permutation(120)
  rows = [{"uid": f"q{i}", "reward": int(i) % 7} for i in order]
  file = tiny.write(tmp_path / "judged.jsonl", rows)
  config = _config(
    source, pool__scores=str(file), select__where="reward in [1, 3, 5]"
  )
  pipeline.run(config, workdir, stages=_STAGES, redo="select")
  chosen = _chosen(workdir)
  assert len(chosen) == 20 and set(chosen % 7) <= {1, 3, 5}


def test_scores_are_told_of_before_the_models_run(source, tmp_path):
  config = _config(source, pool__fields__scores="qualty, ifd=judge.ifd")
  with pytest.raises(errors.InputError) as raised:
    pipeline.run(config, tmp_path / "work", stages=_STAGES)
  said = str(raised.value)
  assert "names 'qualty' as the score 'qualty'" in said
  assert "fields with numbers: weight, quality, judge.ifd" in said
  assert "Did you mean 'quality'?" in said
  assert not (tmp_path / "work/embed").exists()
  # --dry-run says the same, of a pool that is there and of one that is not.
  for workdir in (tmp_path / "work", tmp_path / "none"):
    with pytest.raises(errors.InputError) as raised:
      dry_run.run(config, workdir, stages=_STAGES)
    assert str(raised.value) == said


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    ({"select__where": "quality > 1"}, "where names 'quality', which is none"),
    ({"select__where": "quality ="}, "cannot be read"),
    ({"select__tie_break": "quality"}, "tie_break names 'quality'"),
    ({"select__tie_break": "domain"}, "which is a text"),
    ({"landscape__depth": "score:quality"}, "depth names 'quality'"),
    ({"landscape__depth": "score:"}, "config.landscape.depth"),
    ({"landscape__depth": "score:depth"}, "depth names 'depth'"),
    ({"pool__fields__scores": "a.q, b.q"}, "are both called 'q'"),
    (
      {
        "pool__fields__scores": "quality",
        "landscape__depth": "score:quality",
        "landscape__stability": ("reference_seed",),
        "score__reference_seeds": (0, 1),
      },
      "which no reference set changes",
    ),
  ],
)
def test_a_config_that_names_no_score(source, fields, said):
  with pytest.raises(errors.InputError, match=said):
    _config(source, **fields)


@pytest.mark.parametrize("run", [pipeline.run, dry_run.run])
def test_files_beside_the_pool_are_opened_before_it_is_read(
  source, tmp_path, run
):
  gone = str(tmp_path / "gone.parquet")
  file = tiny.write(tmp_path / "s.jsonl", [{"id": "0" * 16, "reward": 1}])
  for fields, said in (
    ({"pool__scores": gone}, "config.pool.scores is '.*no such file"),
    (
      {"pool__scores": gone, "pool__fields__scores": "reward"},
      "config.pool.scores is '.*no such file",
    ),
    (
      {"pool__scores": str(file), "select__where": "rewrad > 1"},
      "config.select.where names 'rewrad'.*Did you mean 'reward'",
    ),
    ({"pool__decontaminate": gone}, "config.pool.decontaminate is '.*no such"),
  ):
    with pytest.raises(errors.InputError, match=said):
      run(_config(source, **fields), tmp_path / "work", stages=_STAGES)
    assert not (tmp_path / "work/pool/index.parquet").exists()


def test_a_score_that_no_file_has_is_refused(source, workdir, tmp_path):
  file = tiny.write(
    tmp_path / "s.jsonl", [row | {"reward": 1} for row in _records()]
  )
  for field, value in (
    ("select__where", "rewrad >= 1"),
    ("select__tie_break", "rewrad"),
    ("landscape__depth", "score:rewrad"),
  ):
    config = _config(source, pool__scores=str(file), **{field: value})
    with pytest.raises(errors.InputError) as raised:
      pipeline.run(config, workdir, stages=_STAGES, redo="landscape")
    name = field.replace("__", ".")
    assert f"config.{name} names 'rewrad'" in str(raised.value)
    assert "Did you mean 'reward'?" in str(raised.value)


def test_the_map_and_an_export_have_the_scores(source, workdir):
  config = _config(source, pool__fields__scores=_SCORES)
  pipeline.run(config, workdir, stages=(*_STAGES, "report"))
  frame = _frame(workdir)
  points = map_points.points(epath.Path(workdir), selected=True)
  assert list(points.scores) == ["quality", "ifd"]
  np.testing.assert_array_equal(points.scores["ifd"], frame.ifd)
  examples = list(finished_run.Selection(workdir))
  chosen = _chosen(workdir)
  for example, row in zip(examples, chosen, strict=True):
    ifd = frame.ifd[row]
    assert example.scores == {
      "quality": frame.quality[row],
      "ifd": None if np.isnan(ifd) else ifd,
    }
    assert huggingface.row(example)["scores"] == example.scores
  held = huggingface.schema(examples).field("scores").type
  assert [field.name for field in held] == ["quality", "ifd"]


def test_a_kill_within_the_scores_is_resumed(source, workdir, monkeypatch):
  config = _config(source, pool__fields__scores=_SCORES)
  at, calls = scores.numeric.at, []

  def dies(record, path):
    calls.append(path)
    if len(calls) > 150:
      raise SystemExit
    return at(record, path)

  with monkeypatch.context() as patch:
    patch.setattr(scores.numeric, "at", dies)
    with pytest.raises(SystemExit):
      pipeline.run(config, workdir, stages=_STAGES)
  first = workdir / "signals/scores/values-00000.npy"
  written = first.stat().st_mtime_ns
  assert not (workdir / "signals/scores/values-00001.npy").exists()
  pipeline.run(config, workdir, stages=_STAGES)
  assert first.stat().st_mtime_ns == written
  row = np.random.default_rng(0).permutation(120)
  found = scores.read(workdir, ["ifd", "quality"], row)
  frame = _frame(workdir)
  np.testing.assert_array_equal(found["ifd"], frame.ifd[row])
  np.testing.assert_array_equal(found["quality"], frame.quality[row])


def test_scores_are_made_anew_when_that_is_asked_for(source, workdir):
  config = _config(
    source, pool__fields__scores=_SCORES, select__where="quality >= 2"
  )
  pipeline.run(config, workdir, stages=_STAGES, redo="select")
  kept = _made(workdir, "pool", "embed", "score", "landscape")
  before = _made(workdir, "signals", "select")
  pipeline.run(config, workdir, stages=_STAGES, redo="scores")
  assert _made(workdir, "pool", "embed", "score", "landscape") == kept
  after = _made(workdir, "signals", "select")
  assert after.keys() == before.keys()
  for path, (time, content) in before.items():
    assert after[path][0] > time
    if path.suffix in (".npy", ".parquet", ".jsonl"):
      assert after[path][1] == content
  with pytest.raises(errors.InputError, match="a signal that no stage of"):
    pipeline.run(_config(source), workdir, stages=_STAGES, redo="scores")


def test_a_stage_that_was_made_without_scores_says_so(source, workdir):
  config = _config(
    source, pool__fields__scores=_SCORES, landscape__depth="score:quality"
  )
  with pytest.raises(errors.InputError) as raised:
    pipeline.run(config, workdir, stages=_STAGES)
  assert "'landscape' in " in str(raised.value)
  assert "was made without 'scores', and this config needs it" in (
    str(raised.value)
  )
  assert "--redo=landscape" in str(raised.value)


def test_records_in_python(source):
  chosen = ila_jax.select(
    _records(),
    budget=5,
    settings={
      "pool.fields.scores": _SCORES,
      "select.where": "quality == 5 and known(ifd)",
      "landscape.projection": "pca",
      "model.scratch.width": 32,
    },
  )
  assert [record["quality"] for record in chosen.records] == [5] * 5


def test_what_asks_for_no_score_is_made_from_what_it_was(run):
  inputs = {
    stage: json.dumps(files.read_json(run / stage / "stage.json")["inputs"])
    for stage in _STAGES
  }
  for stage, text in inputs.items():
    for name in ('"scores"', '"where"', '"tie_break"'):
      assert name not in text, stage


def test_scores_are_axes_of_the_laboratory(source, workdir):
  config = _config(source, scaling__subsets=6, scaling__sizes=(15,))
  pipeline.run(config, workdir, stages=("scaling", "report"))
  before = _made(workdir, "scaling")
  page = (workdir / "report/index.html").read_text()
  assert "mean score of a subset" not in page
  # Named later, they are measured all the same, and nothing is trained again.
  config = _config(
    source,
    pool__fields__scores=_SCORES,
    scaling__subsets=6,
    scaling__sizes=(15,),
  )
  pipeline.run(config, workdir, stages=("scaling", "report"))
  assert _made(workdir, "scaling") == before
  frame = _frame(workdir)
  subsets = files.read_table(workdir / "scaling/subsets.parquet")
  lines = files.read_jsonl(workdir / "scaling/runs.jsonl")
  np.testing.assert_array_equal(subsets["id"], frame.id[subsets["row"]])
  for line in lines:
    rows = subsets["row"][subsets["subset"] == line["name"]]
    assert len(set(rows)) == line["n"] == 15
    assert frame.n_response_tokens[rows].sum() == line["tokens"]
  quality, ifd = others.axes(epath.Path(workdir), lines)
  assert [quality["score"], ifd["score"]] == ["quality", "ifd"]
  rows = subsets["row"].reshape(-1, 15)[:6]
  means = np.nanmean(frame.ifd.to_numpy()[rows], axis=1)
  loss = np.log([line["loss"] for line in lines[:6]])
  assert ifd["r"] == pytest.approx(np.corrcoef(means, loss)[0, 1], rel=1e-5)
  page = (workdir / "report/index.html").read_text()
  assert "mean score of a subset" in page


def test_a_depth_that_is_the_same_for_all_is_told(tmp_path, capsys):
  rows_ = [row | {"same": 7} for row in tiny.records(120)]
  source = tiny.write(tmp_path / "pool.jsonl", rows_)
  config = _config(
    source, pool__fields__scores="same", landscape__depth="score:same"
  )
  work = tmp_path / "same"
  pipeline.run(config, work, stages=(*_STAGES, "report"))
  said = "100.0 % of the examples have the depth 7"
  assert f"warning: {said}" in capsys.readouterr().err
  assert said in (work / "report/index.html").read_text()

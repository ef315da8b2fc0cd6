"""`ila_jax.select` is the pipeline: same stages, same tables, same answer."""

import json
import pathlib
import shlex

import numpy as np
import pytest
from absl import flags
from etils import epath
from ml_collections import config_flags

import ila_jax
from ila_jax import api, config_parsing, presets
from ila_jax.command_line import words as words_lib
from ila_jax.run.disk import checksums, files
from tests.support import tiny

# Small, but for what `select` chooses by the size of the pool.
_SETTINGS = {
  name: value
  for name, value in tiny.OVERRIDES.items()
  if name not in ("pool.limit", "pool.dev_examples", "score.reference_examples")
} | {"pool.fields.labels": "tags"}


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
  """What the whole runs before compiled serves here, too."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
  """A selection of 240 records in a folder of its own; and the records."""
  pool = tiny.records(240)
  workdir = tmp_path_factory.mktemp("api") / "run"
  chosen = ila_jax.select(pool, budget=12, workdir=workdir, settings=_SETTINGS)
  return chosen, pool, workdir


def test_it_returns_what_the_stages_wrote(kept):
  chosen, pool, workdir = kept
  ranking = files.read_table(workdir / "select/ranking.parquet")
  assert list(chosen.ids) == ranking["id"][:12].tolist()
  np.testing.assert_array_equal(chosen.scores, ranking["depth"][:12])
  np.testing.assert_array_equal(chosen.cells, ranking["cell"][:12])
  lines = (workdir / "select/selected.jsonl").read_text().splitlines()
  assert list(chosen.records) == [json.loads(line) for line in lines]
  assert len(chosen.records) == 12
  assert all(record in pool for record in chosen.records)
  assert np.isfinite(chosen.scores).all()
  assert chosen.workdir == workdir
  assert (workdir / "report/index.html").exists()


def test_a_small_pool_gives_up_a_tenth_at_most(kept):
  _, _, workdir = kept
  manifest = json.loads((workdir / "manifest.json").read_text())
  assert manifest["config"]["pool"]["dev_examples"] == 24
  assert manifest["config"]["score"]["reference_examples"] == 12  # Two seeds.
  assert manifest["config"]["model"]["path"] == "scratch"
  assert manifest["config"]["pool"]["limit"] is None
  assert manifest["commit"]


def test_a_shell_can_go_on(kept, capsys):
  """Only there the base can be tuned on the selection and on its rivals."""
  _, pool, workdir = kept
  ila_jax.select(pool, budget=12, workdir=workdir, settings=_SETTINGS)
  said = capsys.readouterr().err.splitlines()
  assert (
    "Run the same command with --stages=finetune,report at its end." in said[-2]
  )
  prefix, _, command = said[-1].partition(": ")
  words = shlex.split(command)
  assert prefix == "the same in a shell"
  assert words[:3] == ["ila", "--config=notebook", f"--workdir={workdir}"]
  words = words[:2] + words[3:]
  given = flags.FlagValues()
  config_flags.DEFINE_config_file("config", flag_values=given, sys_argv=words)
  given["config"].parser = words_lib.ConfigParser()
  given(words)
  manifest = json.loads((workdir / "manifest.json").read_text())
  typed = config_parsing.parse(given.config).plain()
  assert json.loads(json.dumps(typed)) == manifest["config"]


def test_the_same_call_goes_on(kept, capsys):
  chosen, pool, workdir = kept
  again = ila_jax.select(
    iter(pool), budget=12, workdir=workdir, settings=_SETTINGS
  )
  said = capsys.readouterr().err
  assert said.count("skipped: it is done") == 6
  assert (again.ids, again.records) == (chosen.ids, chosen.records)


def test_without_a_workdir_nothing_is_left(kept, tmp_path, monkeypatch):
  chosen, pool, _ = kept
  monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
  (tmp_path / "temporary").mkdir()
  path = tiny.write(tmp_path / "pool.jsonl", pool)
  found = ila_jax.select(path, budget=1 / 16, settings=_SETTINGS)
  assert found.workdir is None
  assert list((tmp_path / "temporary").iterdir()) == []
  # The same records, from a file, and as many: there are 192 candidates.
  assert found.ids == chosen.ids
  np.testing.assert_array_equal(found.scores, chosen.scores)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (
      {"settings": {"pool.sorce": 1}},
      r"settings has 'pool.sorce': 1; config has no such field. Did you mean",
    ),
    (
      {"settings": {"seed": "x"}},
      "settings has 'seed': 'x'; allowed for config.seed: a whole number, 0 to",
    ),
    (
      {"settings": {"config.budget": 3}},
      r"'budget': 3; config has no such field; the field is 'select.budget'\.",
    ),
    (
      {"settings": {"lanscape.grid": 4}},
      r"config has no such field; the field is 'landscape.grid'\. `",
    ),
    (
      {"settings": {"select.options.ila.rank": "depth"}},
      r"no such field\. Did you mean 'select.options.ila.rank_by'\? `",
    ),
    (
      {"settings": {"select": 4}},
      "'select': 4; it is a section: set one of its fields. `ila --fields`",
    ),
    ({"settings": {"config.seed": -1}}, "config.seed is -1"),
    ({"pool": ["no/such.jsonl", "no/other.jsonl"]}, "'no/such.jsonl'"),
    ({"pool": []}, "all its files are empty"),
    ({"config": "quikstart"}, r"neither a preset \(did you mean quickstart"),
    ({"model": "no/such"}, "config.encoder.path is not set"),
    ({"budget": 2.5}, "budget is 2.5; allowed: a float up to 1"),
    ({"budget": float("nan")}, "budget is nan; allowed: a float up to 1"),
    ({"budget": 0}, "config.select.budget is 0.0; allowed: a number above 0"),
    ({"pool": iter([1])}, "record 1 of the pool is a int; allowed: a dict"),
    (
      {"pool": iter([{"a": "b"}, {"a": {1, 2}}])},
      "record 2 of the pool has no JSON form .*set",
    ),
    ({"pool": iter([{"a": float("nan")}])}, "record 1 of the pool has no JSON"),
    ({"pool": "no/such.jsonl"}, "'no/such.jsonl'"),
    ({"workdir": "http://a/b"}, "workdir is 'http://a/b': a web address"),
  ],
)
def test_what_is_wrong_is_named(tmp_path, arguments, message):
  given = {"pool": iter(tiny.records(20)), "workdir": tmp_path / "run"}
  given |= arguments
  with pytest.raises(ila_jax.InputError, match=message):
    ila_jax.select(given.pop("pool"), **given)


@pytest.fixture
def configs(monkeypatch):
  """The configs that the pipeline would run; it fails instead."""
  ran = []

  def run(config, workdir, **_):
    ran.append(config)
    raise ila_jax.InputError(f"{workdir}/pool/rejects.jsonl says why.")

  monkeypatch.setattr("ila_jax.pipeline.run", run)
  return ran


def test_a_config_file_of_one_s_own_is_not_overruled(tmp_path, configs):
  (tmp_path / "my.py").write_text(
    "from ila_jax.configs import notebook\n\n\ndef get_config():\n"
    "  config = notebook.get_config()\n  config.pool.dev_examples = 70\n"
    "  return config\n"
  )
  for config in (tmp_path / "my.py", "notebook"):
    with pytest.raises(ila_jax.InputError):
      ila_jax.select(tiny.records(240), config=config)
  assert [config.pool.dev_examples for config in configs] == [70, 24]


def test_files_are_a_pool(tmp_path, configs):
  paths = [tmp_path / "a.jsonl", str(tmp_path / "b.jsonl")]
  for path in paths:
    tiny.write(pathlib.Path(path), tiny.records(120))
  with pytest.raises(ila_jax.InputError):
    ila_jax.select(paths)
  assert configs[0].pool.sources == tuple(map(str, paths))


def test_a_folder_that_is_gone_is_said_to_be(tmp_path, configs):
  gone = r"rejects.jsonl says why. \(\S+ was temporary, and is gone: call"
  with pytest.raises(ila_jax.InputError, match=gone):
    ila_jax.select(tiny.records(240))
  with pytest.raises(ila_jax.InputError, match=r"says why\.$"):
    ila_jax.select(tiny.records(240), workdir=tmp_path / "run")


def test_so_is_one_of_which_a_file_is_damaged(monkeypatch):
  def run(config, workdir, **_):
    raise checksums.Damaged(workdir / "pool/index.parquet", "it is missing")

  monkeypatch.setattr("ila_jax.pipeline.run", run)
  with pytest.raises(ila_jax.InputError, match=r"missing.* and is gone: call"):
    ila_jax.select(tiny.records(240))


@pytest.mark.parametrize(
  "changes",
  [
    {"laboratory.arms": {"mine": {"strategy": "ila"}}},
    {"pool.overrides": {"a": {"prompt": "q"}}},
    {"select.options": {"trim": {"quantile": 0.2}}},
  ],
)
def test_a_command_holds_all_that_was_set_or_is_not_told(tmp_path, changes):
  fields = presets.load("notebook")
  fields.update_from_flattened_dict(changes)
  command = api._command("notebook", fields, epath.Path("w"))
  option = "--config.select.options.trim.quantile=0.2"
  told = f"ila --config=notebook --workdir=w {option}"
  assert command == (told if "select.options" in changes else "")


def test_the_citation_is_that_of_the_readme():
  yaml = pytest.importorskip("yaml")
  root = pathlib.Path(__file__).resolve().parent.parent
  cited = yaml.safe_load((root / "CITATION.cff").read_text())
  assert cited["version"] == ila_jax.__version__
  (paper,) = cited["references"]
  readme = " ".join((root / "README.md").read_text().split())
  assert f"title = {{{paper['title']}}}" in readme
  authors = " and ".join(
    f"{who['family-names']}, {who['given-names']}" for who in paper["authors"]
  )
  assert f"author = {{{authors}}}" in readme
  assert f"journal = {{{paper['journal']}}}" in readme

"""A pool that is too small is told of first, with flags that fit it."""

import re
import shlex

import numpy as np
import pytest
from etils import epath

from ila_jax import config_parsing, errors, pipeline
from ila_jax.pool import index
from ila_jax.pool import size as size_lib
from ila_jax.pool.tokens import encode, tokenizer
from ila_jax.report import sentences
from ila_jax.run.disk import files
from tests.support import tiny


def flags_of(message):
  """The flags that a message offers, as {field: value}."""
  words = [w for w in shlex.split(message) if w.startswith("--config.")]
  pairs = (word.removeprefix("--config.").split("=") for word in words)
  return {name.replace(".", "__"): value for name, value in pairs}


def pasted(source, changes, flags):
  """The config with flags as absl reads them: by the type of the field."""
  config = tiny.config_dict(source, **changes)
  for name, value in flags.items():
    section, field = name.split("__")
    config[section][field] = type(config[section][field])(value)
  return config_parsing.parse(config)


@pytest.mark.parametrize(
  "changes",
  [
    {"select__unit": "examples", "select__budget": 5000.0},
    {"select__unit": "fraction", "select__budget": 0.001},
    {"select__unit": "tokens", "select__budget": 1e6},
    {"pool__dev_examples": 2000},
    {"score__reference_examples": 2000},
    {"score__reference_seeds": (0, 1, 2), "score__exclude_reference": False},
    {"select__unit": "tokens", "pool__dev_examples": 10**6},
  ],
)
@pytest.mark.parametrize("size", [20, 45, 200])
def test_the_flags_that_are_offered_fit(tmp_path, size, changes):
  """For each budget, after one refusal the pasted flags are let pass."""
  changes = {"score__reference_examples": 500} | changes
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(size))
  config = tiny.config(source, **changes)
  with pytest.raises(errors.InputError, match=f"pool has {size}") as caught:
    size_lib.check_count(config)
  flags = flags_of(str(caught.value))
  assert set(flags) == {
    "pool__dev_examples",
    "score__reference_examples",
    "select__budget",
  }
  size_lib.check_count(pasted(source, changes, flags))


def test_a_pool_of_too_few_to_offer_anything(tmp_path):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(9))
  with pytest.raises(
    errors.InputError, match="20 examples are the least"
  ) as told:
    size_lib.check_count(tiny.config(source))
  assert "--config" not in str(told.value)


def test_it_is_told_before_a_tokenizer_is_made(tmp_path, monkeypatch):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(45))
  monkeypatch.setattr(tokenizer, "train_bpe", None)
  monkeypatch.setattr(encode, "encode_many", None)
  with pytest.raises(errors.InputError, match="the pool has 45 usable"):
    pipeline.run(
      tiny.config(source, pool__dev_examples=45),
      tmp_path / "run",
      stages=["pool"],
    )


def test_a_limit_is_named(tmp_path):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(200))
  with pytest.raises(errors.InputError, match=r"Raise config\.pool\.limit"):
    size_lib.check_count(tiny.config(source, pool__limit=50))


def test_rejects_are_told_as_rejects(tmp_path):
  """Where most is rejected, the size is not what is wrong."""
  rows = [record | {"output": ""} for record in tiny.records(200)]
  source = tiny.write(tmp_path / "pool.jsonl", rows)
  config = tiny.config(source)
  size_lib.check_count(config)
  with pytest.raises(errors.InputError, match="200 of 200 records"):
    pipeline.run(config, tmp_path / "run", stages=["pool"])
  assert (epath.Path(tmp_path) / "run/pool/rejects.jsonl").exists()


def test_no_more_is_read_than_is_needed(tmp_path):
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(240))
  config = tiny.config(
    source, select__unit="examples", select__budget=5.0, pool__limit=None
  )
  size_lib.check_count(config)
  # What follows what is needed may be damaged: reading proper tells.
  whole = source.read_text().splitlines(keepends=True)
  source.write_text("".join(whole[:85]) + "[" * 1000)
  size_lib.check_count(config)


@pytest.mark.parametrize("unit", ["examples", "tokens", "fraction"])
def test_the_offered_flags_run(tmp_path, unit):
  """The whole stage, with what a user would paste."""
  source = tiny.write(tmp_path / "pool.jsonl", tiny.records(60))
  changes = {
    "select__unit": unit,
    "select__budget": 0.1 if unit == "fraction" else 5000.0,
    "pool__dev_examples": 1000,
  }
  message = ""
  for attempt in range(2):
    flags = flags_of(message)
    try:
      pipeline.run(
        pasted(source, changes, flags),
        tmp_path / f"run{attempt}",
        stages=["pool"],
      )
      break
    except errors.InputError as error:
      message = str(error)
  assert attempt == 1
  assert re.search(r"pool\.dev_examples=6 ", message)


def check(config, prompts, is_dev):
  """What a stage does when it has read the pool."""
  columns = index.Columns()
  numbers = ("n_labels", "n_prompt_tokens", "truncated")
  columns.extend(
    {"id": prompts, "prompt_id": prompts}
    | {name: np.ones(len(prompts)) for name in numbers}
    | {name: ["a"] * len(prompts) for name in ("source", "domain")}
    | {"n_response_tokens": np.full(len(prompts), 20)}
  )
  size_lib.check(config, columns["n_response_tokens"])
  nowhere = epath.Path("/")
  return size_lib.check_prompts(
    config, nowhere, columns, is_dev, how="prompt = q"
  )


@pytest.mark.parametrize(
  ("size", "changes", "expected"),
  [
    (
      900,
      {"pool__dev_examples": 300, "score__reference_examples": 500},
      "10 are chosen from 100, and no scaling law is fitted "
      "(the largest of config.scaling.sizes is 150). More is left with "
      "--config.pool.dev_examples=90 --config.score.reference_examples=90",
    ),
    (2000, {"pool__dev_examples": 300, "score__reference_examples": 500}, ""),
    (
      150,
      {"pool__dev_examples": 10, "score__reference_examples": 10},
      '--config.scaling.sizes="(30,)"',
    ),
    (
      100,
      {"select__unit": "examples", "select__budget": 29, "pool__limit": 100},
      "29 are chosen from 80. More is left with a higher --config.pool.limit",
    ),
    (100, {"select__unit": "examples", "select__budget": 30}, ""),
    # Flags that change nothing are not offered.
    (100, {"select__unit": "examples", "select__budget": 29}, "from 80\n"),
  ],
)
def test_a_pool_that_leaves_little_is_told_of(size, changes, expected):
  has_law = "score__reference_examples" in changes
  settings = {
    "pool__dev_examples": 10,
    "score__reference_examples": 10,
    "score__reference_seeds": (0,),
    "select__unit": "fraction",
    "select__budget": 0.1,
    "scaling__sizes": (150,),
    "scaling__subsets": 8 * has_law,
    "scaling__held_out": 3 * has_law,
  }
  config = tiny.config("a.jsonl", **settings | changes)
  is_dev = np.arange(size) < config.pool.dev_examples
  said = check(config, np.arange(size), is_dev)
  assert expected in said + "\n" and bool(said) == bool(expected)


def test_what_prompts_hold_out_is_what_is_told():
  """Thirty prompts of ten examples: of five asked for ten are held out."""
  config = tiny.config(
    "a.jsonl",
    pool__dev_examples=5,
    score__reference_examples=5,
    score__reference_seeds=(0,),
    select__unit="examples",
    select__budget=20.0,
  )
  prompts = np.repeat(np.arange(30), 10)
  said = check(config, prompts, prompts == 3)
  assert "10 are held out and 5 are the reference: 20 are chosen from" in said


@pytest.mark.parametrize(
  ("prompts", "shown"),
  [
    (["-"] * 80, "80 of 80 usable examples share the prompt '-'"),
    (["-"] * 60 + ["+"] * 20, "60 of 80 usable examples share the prompt '-'"),
    (["long " * 50] * 80, "'" + "long " * 12 + "'"),
  ],
)
def test_a_pool_of_too_few_prompts_is_refused(tmp_path, prompts, shown):
  rows = [
    {"question": prompt, "r1_generation": f"Think of {n}.", "solution": f"{n}"}
    for n, prompt in enumerate(prompts)
  ]
  source = tiny.write(tmp_path / "pool.jsonl", rows)
  config = tiny.config(
    source,
    pool__dev_examples=5,
    pool__fields__labels="",
    score__reference_examples=5,
    score__reference_seeds=(0,),
    select__budget=0.1,
  )
  with pytest.raises(errors.InputError) as told:
    pipeline.run(config, tmp_path / "run", stages=["pool"])
  assert shown in str(told.value)
  assert "(prompt = question, response = solution)" in str(told.value)
  assert not (tmp_path / "run/pool/index.parquet").exists()


CLASSES = "prompt = definition, response = output"


def of_classes(count, **more):
  """Records of which the fields that are read hold two texts."""
  return [
    {"definition": "flan", "output": f"{n % 2}", "hint": f"{n}"} | more
    for n in range(count)
  ]


def test_a_pool_that_duplicates_make_too_small_names_them(tmp_path, capsys):
  source = tiny.write(tmp_path / "pool.jsonl", of_classes(40))
  with pytest.raises(errors.InputError) as told:
    pipeline.run(
      tiny.config(source, pool__fields__labels=""),
      tmp_path / "run",
      stages=["pool"],
    )
  assert (
    f"38 of 40 records are duplicates: in the fields that are read ({CLASSES})"
    in str(told.value)
  )
  assert "larger config.pool.source" not in str(told.value)
  assert "read 40, used 2, rejected 38 (38 duplicate" in capsys.readouterr().err
  rejects = (tmp_path / "run/pool/rejects.jsonl").read_text()
  assert len(rejects.splitlines()) == 38


@pytest.mark.parametrize(("copies", "warns"), [(1, False), (2, True)])
def test_a_pool_of_which_most_are_duplicates_is_told(
  tmp_path, capsys, copies, warns
):
  rows = tiny.records(60) * (1 + copies) + tiny.records(60)[:1] * warns
  source = tiny.write(tmp_path / "pool.jsonl", rows)
  changes = {"pool__dev_examples": 10, "score__reference_examples": 5}
  config = tiny.config(source, select__budget=0.3, **changes)
  pipeline.run(config, tmp_path / "run", stages=["pool"])
  counts = files.read_json(tmp_path / "run/pool/counts.json")
  assert counts["used"] == 60
  told = f"{counts['rejected']} of {counts['read']} records are duplicates: in"
  assert (f"warning: {told}" in capsys.readouterr().err) == warns
  said = sentences.warnings({"pool": counts})
  assert any(one.startswith(f"pool: {told}") for one in said) == warns

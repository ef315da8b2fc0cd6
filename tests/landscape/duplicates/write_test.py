"""Near-duplicates of a run: its artifacts, and what selection leaves out."""

import dataclasses

import numpy as np
import pytest
from etils import epath

from ila_jax import errors
from ila_jax.embed import rows as rows_lib
from ila_jax.landscape.duplicates import pairs, prompts, write
from ila_jax.run import draws, tables
from ila_jax.run.disk import files
from ila_jax.selection import scored_pool
from tests.support import tiny

N, GRID = 300, 4


def _config(**overrides):
  return tiny.config("pool.jsonl", **overrides)


def _run(folder, *, order=None, grid=GRID, config=None, leak=0.0):
  """Artifacts of a small run with known near-duplicates, then the search."""
  rng = np.random.default_rng(0)
  order = np.arange(N) if order is None else order
  x = rng.normal(size=(60, 12))[rng.integers(60, size=N)]
  x = x + 0.2 * rng.normal(size=(N, 12)) * rng.random((N, 1))
  prompt = np.arange(N, dtype=np.uint64)
  prompt[200:210], x[200:210] = N, x[200]
  x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
  names = rng.permutation(N).astype(np.uint64)
  columns = {
    "cell": rng.integers(GRID**2, size=N),
    "depth": 0.2 * rng.normal(size=N).astype(np.float32),
    "n_tokens": rng.integers(1, 99, size=N),
    "split": np.where(np.arange(N) < 20, "dev", "pool"),
    "in_reference": np.isin(np.arange(N), range(20, 50)),
  }
  # What is near the reference set looks deep.
  columns["depth"] += leak * ((x @ x[20:50].T).max(axis=1) >= 0.9)
  names, prompt, x = names[order], prompt[order], x[order]
  columns = {name: column[order] for name, column in columns.items()}
  for start in range(0, N, 128):
    shard, here = start // 128, slice(start, start + 128)
    files.write_array(folder / f"embed/embeddings-{shard:05d}.npy", x[here])
    seen = np.unique(prompt, return_inverse=True)[1]
    _write_inputs(folder, shard, seen[here])
  files.write_table(
    folder / "pool/index.parquet",
    {
      "id": names,
      "prompt_id": prompt,
      "split": columns["split"],
      "n_response_tokens": columns["n_tokens"],
    },
  )
  # A row without a finite loss is scored by nobody.
  row = np.delete(np.arange(N), np.flatnonzero(names == sorted(names)[-1]))
  reference = np.flatnonzero(columns["in_reference"])
  files.write_table(
    folder / "score/reference.parquet",
    {"seed": 0 * reference, "row": reference, "id": names[reference]},
  )
  files.write_table(
    folder / "score/scores.parquet",
    {
      "row": row,
      "nll_base": columns["depth"][row] * columns["n_tokens"][row],
      "nll_sft": np.zeros(len(row)),
      "n_tokens": columns["n_tokens"][row],
    },
  )
  files.write_table(
    folder / "landscape/cells.parquet",
    {
      "row": row,
      "id": names[row],
      "cell": columns["cell"][row],
      "depth": columns["depth"][row],
      "relative_depth": columns["depth"][row],
      "domain": np.zeros(len(row), np.int32),
    },
  )
  files.write_json(tables.MAP.path(folder), {"grid": grid, "dimensions": 2})
  config = config or _config()
  folder = epath.Path(folder)
  write.run_into(tiny.run(config, folder))
  return x, row, names, prompt


def _ids(folder, config):
  """Ids of the candidates that the config leaves."""
  pool = scored_pool.load(tiny.run(config, folder))
  return set(pool.candidates.ids[pool.candidates.candidate])


def test_groups_hold_repeated_prompts_and_what_is_near(tmp_path):
  x, row, _, prompt = _run(tmp_path)
  table = files.read_table(tables.GROUPS.path(tmp_path))
  summary = files.read_json(tables.DUPLICATES.path(tmp_path))
  assert summary["near_another"] == len(table["row"]) > 30
  assert summary["prompts"] == len(set(prompt[row])) < summary["examples"]
  repeated = np.flatnonzero(prompt == N)
  there = np.isin(table["row"], repeated)
  assert there.sum() == len(repeated)
  assert len(set(table["group"][there])) == 1
  np.testing.assert_array_equal(table["cosine"][there], 1)
  cosine = (x[table["row"]] * x[table["nearest_row"]]).sum(axis=1)
  np.testing.assert_allclose(table["cosine"], cosine, atol=1e-6)
  assert table["cosine"].min() >= np.float32(0.95)
  # The group is named after one of its rows, and that stays.
  sizes = np.unique(table["group"], return_counts=True)[1]
  assert summary["removable"] == (sizes - 1).sum()
  assert summary["groups"] == (sizes > 1).sum()
  assert set(table["group"]) <= set(row)
  assert summary["largest"][0]["examples"] == sizes.max()


def test_all_finds_what_cells_miss_and_cells_say_so(tmp_path):
  _run(tmp_path)
  cells = files.read_json(tables.DUPLICATES.path(tmp_path))
  config = _config(landscape__duplicate_search="all")
  x, row, _, prompt = _run(tmp_path, config=config)
  found = files.read_json(tables.DUPLICATES.path(tmp_path))
  own = np.sort(np.unique(prompt[row], return_index=True)[1])
  cosine = np.triu(x[row[own]] @ x[row[own]].T, 1)
  assert found["pairs"] == (cosine >= 0.95).sum()
  # All prompts are in the sample, so that each pair is seen from both ends.
  assert cells["recall"]["pairs"] == 2 * found["pairs"]
  assert cells["recall"]["in_cells"] == 2 * cells["pairs"]
  assert cells["pairs"] < found["pairs"]


def test_kmeans_cells_are_beside_the_nearest_means(tmp_path):
  _run(tmp_path, grid=None)
  found = files.read_json(tables.DUPLICATES.path(tmp_path))
  # 16 cells of 8 neighbours each way, so that most pairs are held.
  assert 0 < found["pairs"] <= found["recall"]["pairs"] // 2


def test_a_leak_is_told_beside_placebos_that_are_not_near_themselves(tmp_path):
  leak = 2.0
  x, row, _, prompt = _run(tmp_path, leak=leak)
  found = files.read_json(tables.DUPLICATES.path(tmp_path))
  false_depth = found["false_depth"]
  band = false_depth["bands"][0]
  assert band["gain"] == pytest.approx(leak, abs=0.2)
  assert leak - 0.5 < band["interval"][0] < band["interval"][1] < leak + 0.5
  assert "gain false depth" in false_depth["verdict"]
  assert 0 < false_depth["own"]["gain"] < leak
  # Who is compared: of three placebos, each without its own examples.
  free = row[(row >= 50)]
  to_reference = (x[free] @ x[20:50].T).max(axis=1)
  near, peers, themselves = (np.zeros(len(free), np.bool_) for _ in range(3))
  for placebo in range(3):
    drawn = draws.draw(
      prompt[free],
      count=30,
      seed=_config().seed,
      purpose=f"placebo {placebo}",
      allowed=np.ones(len(free), np.bool_),
    )
    cosine = (x[free] @ x[free[drawn]].T).max(axis=1)
    near |= ~drawn & (to_reference >= 0.9) & (cosine < 0.9)
    peers |= ~drawn & (to_reference < 0.9) & (cosine >= 0.9)
    themselves |= drawn & (to_reference < 0.9)
  assert (band["near"], band["peers"]) == (near.sum(), peers.sum())
  assert (themselves & ~peers).any()


def test_candidates_near_the_reference_are_left_out(tmp_path):
  x, row, names, _ = _run(tmp_path)
  before = _ids(tmp_path, _config())
  after = _ids(tmp_path, _config(select__exclude_near_reference=0.97))
  cosine = (x @ x[20:50].T).max(axis=1)
  near = set(names[row[cosine[row] >= 0.97]])
  assert after == before - near
  assert before & near


@pytest.mark.parametrize("limit", [None, 0.97])
def test_one_of_near_duplicates_stays(tmp_path, limit):
  x, _, names, _ = _run(tmp_path, config=_config())
  without = {"select__exclude_near_reference": limit}
  before = _ids(tmp_path, _config(**without))
  after = _ids(tmp_path, _config(select__drop_duplicates=True, **without))
  table = files.read_table(tables.PAIRS.path(tmp_path))
  near = {
    pair: set()
    for pair in names  # what is near each id, of the pairs that were found
  }
  for a, b in zip(names[table["row_a"]], names[table["row_b"]], strict=True):
    near[a].add(b)
    near[b].add(a)
  assert after < before
  assert not [id for id in after if near[id] & after]
  place = {name: x[i] for i, name in enumerate(names)}
  for gone in before - after:
    # It is near a lower id that stays.
    assert any(
      other < gone and place[other] @ place[gone] >= 0.95 - 1e-6
      for other in after
    )


def test_the_order_of_the_pool_changes_nothing(tmp_path):
  config = _config(
    select__drop_duplicates=True, select__exclude_near_reference=0.97
  )
  _run(tmp_path / "a", config=config)
  _run(
    tmp_path / "b",
    config=config,
    order=np.random.default_rng(1).permutation(N),
  )
  kept = [_ids(tmp_path / name, config) for name in "ab"]
  assert kept[0] == kept[1]
  groups = [
    files.read_table(tables.GROUPS.path(tmp_path / name)) for name in "ab"
  ]
  one, two = (
    dict(zip(t["id"].tolist(), t["cosine"].tolist(), strict=True))
    for t in groups
  )
  assert one == two
  found = [
    files.read_json(tables.DUPLICATES.path(tmp_path / name)) for name in "ab"
  ]
  for name in ("pairs", "groups", "removable", "recall"):
    assert found[0][name] == found[1][name]
  bands = [one["false_depth"]["bands"] for one in found]
  for one, two in zip(*bands, strict=True):
    assert one["near"] == two["near"]
    assert one["interval"] == pytest.approx(two["interval"], abs=1e-6)


def test_too_many_pairs_end_the_report_and_not_the_run(tmp_path, monkeypatch):
  monkeypatch.setattr(pairs, "MAX_PAIRS", 3)
  _run(tmp_path)
  found = files.read_json(tables.DUPLICATES.path(tmp_path))
  assert "duplicate_cosine" in found["refused"]
  assert found["false_depth"]["verdict"]
  removing = _config(select__drop_duplicates=True)
  # As with --redo=select, which searches for no pairs.
  assert _ids(tmp_path, _config())
  with pytest.raises(errors.InputError, match=r"drop_dup.*duplicate_cosine"):
    _ids(tmp_path, removing)
  with pytest.raises(errors.InputError, match="duplicate_cosine"):
    _run(tmp_path, config=removing)


def test_rows_are_read_from_their_shards(tmp_path):
  x, row, *_ = _run(tmp_path)
  rows = rows_lib.Rows(epath.Path(tmp_path), row)
  places = np.array([298, 0, 127, 128, 5, 256])
  np.testing.assert_array_equal(rows[places], x[row[places]])


def _write_inputs(folder, shard, seen):
  """What of a shard says which of its prompts were read alike."""
  files.write_table(
    folder / f"embed/inputs-{shard:05d}.parquet",
    {"seen": seen.astype(np.uint64)},
  )


def test_prompts_are_numbered_over_all_shards(tmp_path):
  rng = np.random.default_rng(0)
  prompt = 2**63 + rng.integers(50, size=400).astype(np.uint64)
  for shard, part in enumerate(np.split(prompt, range(150, 400, 150))):
    _write_inputs(tmp_path, shard, part)
  row = np.sort(rng.permutation(400)[:60])
  ids = rng.permutation(60).astype(np.uint64)
  found = prompts.Prompts(epath.Path(tmp_path), row, ids)
  np.testing.assert_array_equal(found.rank, np.argsort(np.argsort(ids)))
  same = prompt[row][:, None] == prompt[row]
  np.testing.assert_array_equal(found.number[:, None] == found.number, same)
  assert len(found.first) == len(set(prompt[row])) < 50
  odd = np.arange(60) % 2 == 1
  for allowed, lowest in ((odd | True, found.first), (odd, found.lowest(odd))):
    for one, first in enumerate(lowest):
      its = np.flatnonzero((found.number == one) & allowed)
      assert first == min(its, key=lambda i: ids[i], default=-1)
  assert (found.lowest(odd) == -1).any()


def test_removal_asks_for_a_search():
  with pytest.raises(errors.InputError, match="duplicate_cosine is None"):
    _config(landscape__duplicate_cosine=None, select__drop_duplicates=True)


def test_settings_are_those_that_kept_reads():
  names = write.settings(_config())
  fields = {f.name for f in dataclasses.fields(_config().select)}
  assert set(names) < fields

"""Which latents of a sparse autoencoder each record has, eight a byte.

Yang et al. (arXiv 2502.14050; docs/method.md 15): a TopK autoencoder of the
base's hidden states is trained on tokens of the pool, or a published one is
read; a latent is on for a record if it exceeds a threshold at any of its
tokens. A reconstruction from summaries of the paper, whose code is not public.
It deviates: the paper trains on 10 billion tokens of RedPajama, and its
threshold of 10 is of its model; ours is a quantile of what the latents of this
model are where they are on (config.sae).

Hidden states are rounded by the shapes of the batches: on other devices a
latent whose greatest value lies within that of the threshold may be on or off.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped, UInt8

from ila_jax import config as config_lib
from ila_jax import errors
from ila_jax.forecast import costs, work
from ila_jax.passes import token_set, windows
from ila_jax.pool import index, revisions, shards
from ila_jax.run import account as account_lib
from ila_jax.run import context, progress, tables
from ila_jax.run.disk import files
from ila_jax.score.sae import features, fit, published, ready, records, top
from ila_jax.score.signals import example_signal, nll_without_prompt
from ila_jax.training import base

NAME = "sae_features"
# Of config.sae, what a published autoencoder makes no use of.
_TRAINING = (
  *("latents", "k", "epochs", "batch_tokens", "learning_rate"),
  *("warmup_fraction", "auxiliary_k", "dead_tokens"),
)
# Below this share of the variance an autoencoder has hardly learnt anything.
_LITTLE = 0.5
# Records that are unpacked at once.
_ROWS = 1024
# More dead latents than this are told.
_MANY_DEAD = 0.5


def _made_from(run: context.Run) -> dict[str, Any]:
  config = run.config
  sae = config.section("sae")["sae"]
  made = nll_without_prompt.SIGNAL.made_from(run)
  made |= {"seed": config.seed, "max_tokens": config.tokens.max_tokens}
  if config.sae.path is not None:
    sae = {name: sae[name] for name in sae if name not in _TRAINING}
    made["autoencoder"] = revisions.of_path(
      config.sae.path, workdir=run.workdir
    )
  return made | {"sae": sae}


def _width(config: config_lib.Config) -> int:
  """Bytes of a record."""
  return published.latents(config.sae) // 8


def _compute(
  run: context.Run,
  account: account_lib.Account,
  advance: example_signal.Advance,
) -> Callable[[pa.Table], UInt8[np.ndarray, "n w"]]:
  decoder = base.load(run, account)
  made = ready.get(run, account, decoder)
  reading = records.Pass(
    decoder,
    made.layers,
    features.reader(made.weights, run.mesh),
    made.weights.latents,
    made.threshold,
    ready.layout(run, decoder.config),
    run.mesh,
    advance,
  )
  shard_rows = files.count_rows(tables.RECORDS.path(run.workdir, shard=0))
  each = 2.0 * made.weights.latents * made.weights.width

  def of_shard(table: pa.Table) -> np.ndarray:
    row, ids = (table.column(name).to_numpy() for name in ("row", "id"))
    parts = _parts(table, run.config)
    found = reading.over(parts, row)
    lengths = parts.data.lengths
    flops = ready.flops(decoder.config, lengths, made.layers)
    count = int(lengths.sum())
    account.add(flops=flops + each * count, tokens=count)
    if found.not_finite.any():
      progress.say(
        f"  warning: {int(found.not_finite.sum()):,} records have hidden "
        "states that are not finite, and no latent on. Set "
        "--config.model.dtype=float32, or check config.model.path"
      )
    path = tables.SHARD_TOP.path(run.workdir, shard=int(row[0]) // shard_rows)
    files.write_table(path, top.columns(found.top, int(row[0]), ids))
    return found.bits

  return of_shard


def _parts(table: pa.Table, config: config_lib.Config) -> windows.Parts:
  """Whole records, prompt and response, every token but the first counted."""
  tokens = shards.lists(
    table.column("tokens"), lambda held: held.to_numpy(zero_copy_only=False)
  )
  data = token_set.TokenSet.of_text(tokens)
  return windows.split(data, max_tokens=config.tokens.max_tokens)


def _about(
  run: context.Run, values: Iterator[UInt8[np.ndarray, "_ w"]]
) -> dict[str, Any]:
  """How good the autoencoder is, and what its features are of the pool.

  Raises:
    errors.InputError: no feature is on for any record, or all are for all.
  """
  workdir = run.workdir
  notes = files.read_json(tables.SAE.path(workdir) / published.NOTES)
  on, richness = 0, []
  for held in values:
    for begin in range(0, len(held), _ROWS):  # A byte becomes eight.
      bits = features.unpack(held[begin : begin + _ROWS])
      on = on + bits.sum(axis=0)
      richness.append(bits.sum(axis=1))
  count = np.concatenate(richness)
  share = on / len(count)
  if not on.any() or (share == 1).all():
    many = "all" if on.any() else "none"
    raise errors.InputError(
      f"config.sae.threshold: above {notes['threshold']:.4g} {many} of "
      f"{len(share):,} latents are on for every record; allowed: a threshold "
      "that tells records apart. Set another --config.sae.threshold, or "
      "--config.sae.threshold_quantile, with --redo=sae_features."
    )
  top.write(workdir, shards.count(workdir), share)
  lengths = index.lengths(workdir)
  noted = notes | {
    "latents_a_record": float(count.mean()),
    "records_without": int((count == 0).sum()),
    "never_on_share": float((share == 0).mean()),
    "on_in_most_share": float((share > 0.5).mean()),
    "richness_by_length": _correlation(count, lengths),
    "richness_by_log_length": _correlation(
      np.log1p(count), np.log(np.maximum(lengths, 1))
    ),
  }
  progress.say(f"  {sentence(noted)}")
  for one in warnings(noted):
    progress.say(f"  warning: {one}")
  return {"sae": noted}


def _correlation(
  x: Shaped[np.ndarray, " n"], y: Shaped[np.ndarray, " n"]
) -> float | None:
  """Pearson's r; None where one of them does not vary.

  >>> round(_correlation(np.array([1.0, 2, 3]), np.array([2.0, 4, 6])), 6)
  1.0
  """
  if len(x) < 2 or not x.std() or not y.std():
    return None
  return float(np.corrcoef(x, y)[0, 1])


def sentence(noted: dict[str, Any]) -> str:
  """How good an autoencoder is, by `sae` of the record of the signal."""
  r, dead = noted["richness_by_length"], noted["dead_share"]
  return (
    f"the autoencoder explains {100 * noted['explained_variance']:.1f} % of "
    f"the variance of {noted['held_out_tokens']:,} held-out tokens"
    + ("" if dead is None else f", and {100 * dead:.0f} % of it is dead")
    + f"; a record has {noted['latents_a_record']:.0f} of "
    f"{noted['latents']:,} latents on (above {noted['threshold']:.4g}), and "
    + ("all have as many" if r is None else f"r = {r:.2f} with its length")
  )


def warnings(noted: dict[str, Any]) -> list[str]:
  """What makes an autoencoder of little use, with what to do."""
  explained, dead = noted["explained_variance"], noted["dead_share"]
  found = []
  if explained < _LITTLE:
    found.append(
      f"the autoencoder explains {100 * explained:.1f} % of the variance: its "
      "features say little of the model. "
      + (
        "Is config.sae.layer the layer that it was made for?"
        if noted["layout"] != "trained here"
        else "Lower --config.sae.k if it is below 0, else raise "
        "--config.sae.epochs, --config.sae.tokens or --config.sae.learning_rate"
      )
    )
  if dead is not None and dead > _MANY_DEAD:
    found.append(
      f"{100 * dead:.0f} % of the latents are dead. Lower "
      "--config.sae.latents, or raise --config.sae.tokens"
    )
  if noted["records_without"]:
    found.append(
      f"{noted['records_without']:,} records have no latent on, and methods "
      "that count them see nothing there. Lower "
      "--config.sae.threshold_quantile or --config.sae.threshold"
    )
  return [f"{one} (with --redo=sae_features)" for one in found]


def _cost(run: work.PlannedRun) -> costs.Cost:
  """Cost of reading the pool, and of training an autoencoder before."""
  config, sae = run.config, run.config.sae
  depth, width = ready.layers(config, run.decoder), run.decoder.width
  whole = token_set.TokenSet.of_text(run.sample.data.tokens)
  parts = windows.split(whole, max_tokens=config.tokens.max_tokens).data
  # Neither the layers above nor the head are run.
  none = [np.zeros(len(ids), np.bool_) for ids in parts.tokens]
  data = token_set.TokenSet(parts.tokens, none)
  local = run.decoder.local_layers[:depth]
  lower = dataclasses.replace(run.decoder, layers=depth, local_layers=local)
  reading = dataclasses.replace(run, decoder=lower)
  count = round(run.sample.examples * len(parts) / len(whole))
  each = float(parts.lengths.mean())
  latents = published.latents(sae)
  flops = 2.0 * latents * width * each * count
  cost = reading.scoring(data, examples=count).and_also(
    run.machine.products(flops, "float32")
  )
  if sae.path is not None:
    return cost
  drawn = min(sae.tokens, (each - 1) * count)
  passes = 1 if drawn <= ready.chunk_tokens(config, width) else sae.epochs
  examples = max(round(drawn / max(each - 1, 1)), 1)
  steps = fit.steps(
    [round(drawn)], batch_tokens=sae.batch_tokens, epochs=sae.epochs
  )
  recipe = ready.recipe(config, width=width, steps=steps)
  states = reading.scoring(data, examples=examples).times(passes)
  training = run.machine.products(steps * recipe.flops, "float32")
  return cost.and_also(states).and_also(training)


SIGNAL = example_signal.Signal(
  name=NAME,
  made_from=_made_from,
  compute=_compute,
  cost=_cost,
  reads=("row", "id", "tokens"),
  width=_width,
  dtype="uint8",
  is_wide=True,
  about=_about,
  beside=tables.SHARD_TOP,
)

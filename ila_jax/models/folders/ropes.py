"""Rotary positions in config.json, read and written.

Older files have rope_theta and rope_scaling, newer ones rope_parameters.
"""

import math
from typing import Any

from ila_jax.models import rotary
from ila_jax.models.folders import json_fields

FULL, SLIDING = "full_attention", "sliding_attention"
_KNOWN = (
  *("rope_type", "type", "rope_theta", "partial_rotary_factor", "finetuned"),
  *("factor", "original_max_position_embeddings"),
  *("low_freq_factor", "high_freq_factor"),
  *("attention_factor", "mscale", "mscale_all_dim"),
  *("beta_fast", "beta_slow", "truncate"),
)


def read(
  raw: json_fields.Fields,
  *,
  theta: float = 1e4,
  local_theta: float | None = None,
) -> tuple[rotary.Rope, rotary.Rope | None]:
  """Reads the rotary variant that a config.json describes.

  Args:
    raw: the file, in the older spelling or the newer.
    theta: of a file that gives none.
    local_theta: likewise of local layers, where these turn positions in their
      own way (Gemma 3); None: all layers are alike.

  Returns:
    (of all layers or of the global ones, of the local ones or None).

  Raises:
    errors.InputError: a variant, or a field of it, that is not implemented.

  >>> raw = json_fields.Fields("config.json", {"rope_theta": 500000.0})
  >>> read(raw)[0].theta
  500000.0
  """
  raw.only("partial_rotary_factor", 1.0)
  if local_theta is None:
    rope = raw.inner("rope_scaling", {})
    rope = rope if rope.values else raw.inner("rope_parameters", {})
    return _rope(raw, rope, "rope_theta", theta), None
  new, old = raw.inner("rope_parameters", {}), raw.inner("rope_scaling", {})
  if unknown := sorted(new.values.keys() - {FULL, SLIDING}):
    raise new.reject(unknown[0], new.get(unknown[0]), f"{FULL} and {SLIDING}")
  whole = new.inner(FULL, {})
  if old.values:
    whole = json_fields.Fields(raw.file, whole.values | old.values, old.prefix)
  return (
    _rope(raw, whole, "rope_theta", theta),
    _rope(raw, new.inner(SLIDING, {}), "rope_local_base_freq", local_theta),
  )


def _rope(
  raw: json_fields.Fields,
  rope: json_fields.Fields,
  theta_field: str,
  theta: float,
) -> rotary.Rope:
  """Reads the rotary variant that one object describes."""
  kind = rope.get("rope_type", rope.get("type", "default"))
  if kind not in rotary.KINDS:
    raise rope.reject("rope_type", kind, " or ".join(map(repr, rotary.KINDS)))
  for name in sorted(rope.values.keys() - set(_KNOWN)):
    rope.only(name, None)
  rope.only("partial_rotary_factor", 1.0)
  theta = rope.number("rope_theta", raw.number(theta_field, theta))
  if kind == "default":
    return rotary.Rope(theta=theta)
  positions = raw.integer("max_position_embeddings")
  name = "original_max_position_embeddings"
  original = raw.integer(name, rope.integer(name, positions))
  stretched = positions / original if kind == "yarn" else None
  factor = rope.number("factor", stretched)
  values = {"kind": kind, "theta": theta, "factor": factor}
  if kind in ("llama3", "yarn"):
    values["original_positions"] = original
  if kind == "llama3":
    values["low_factor"] = rope.number("low_freq_factor")
    values["high_factor"] = rope.number("high_freq_factor")
  if kind == "yarn":
    values["beta_fast"] = rope.number("beta_fast", 32.0)
    values["beta_slow"] = rope.number("beta_slow", 1.0)
    values["truncate"] = rope.only("truncate", True, False)
    values["attention_factor"] = _attention_factor(rope, factor)
  return rotary.Rope(**values)


def _attention_factor(rope: json_fields.Fields, factor: float) -> float:
  """Computes YaRN's 0.1 · log(factor) + 1, where the file gives no other."""

  def longer(scale: float) -> float:
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

  over, under = rope.maybe("mscale"), rope.maybe("mscale_all_dim")
  ratio = longer(over) / longer(under) if over and under else longer(1.0)
  return rope.number("attention_factor", ratio)


def write(rope: rotary.Rope, local: rotary.Rope | None) -> dict[str, Any]:
  """Writes the fields of config.json in the spelling that all versions read.

  >>> write(rotary.Rope(theta=500000.0), None)
  {'rope_theta': 500000.0}
  """
  values: dict[str, Any] = {"rope_theta": rope.theta}
  if local:
    values["rope_local_base_freq"] = local.theta
  if rope.kind == "default":
    return values
  scaling = {"rope_type": rope.kind, "factor": rope.factor}
  if rope.kind in ("llama3", "yarn"):
    scaling["original_max_position_embeddings"] = rope.original_positions
  if rope.kind == "llama3":
    scaling["low_freq_factor"] = rope.low_factor
    scaling["high_freq_factor"] = rope.high_factor
  if rope.kind == "yarn":
    scaling |= {
      name: getattr(rope, name)
      for name in ("attention_factor", "beta_fast", "beta_slow", "truncate")
    }
  return values | {"rope_scaling": scaling}

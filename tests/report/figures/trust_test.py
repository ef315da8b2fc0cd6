"""The figure of stability shows its numbers, and the page says them."""

import re

import pytest

from ila_jax.landscape.trust import variants
from ila_jax.report import page as page_lib
from ila_jax.report.figures import look, trust
from tests.support.report_data import report_data

OWN = variants.CellRecipe("grid", "tsne", 30.0, seed=0)
ONLY_THE_PAGE = dict.fromkeys(
  ("coverage_curves", "training", "evaluations", "fits", "xy", "depth")
)


def _found(axes):
  made = variants.variants(axes, own=OWN, reference_seeds=(0, 1))
  rows = []
  for number, variant in enumerate(made):
    on_map = variant.recipe is not None
    rho = 0.97 - number / 100
    rows.append(
      {
        "axis": variant.axis,
        "variant": variant.name,
        "cells": 400 + number,
        "jaccard": 1 - number / 20,
        "kept": 0.5,
        "covers": 0.912 - number / 50,
        "mean_distance": 0.6789,
        "depth": [0.8125] if variant.reference is not None else None,
        "coverage": [rho, rho - 0.05, rho + 0.01] if on_map else None,
        "distance": [0.75, 0.7, 0.78] if on_map else None,
        "neighbours_kept": 0.311 if on_map else None,
        "trustworthiness": None,
      }
    )
  about = {"examples": 5000, "candidates": 4400, "budget": 500}
  about |= {"jaccard_by_chance": 0.06, "subsets": 40, "subset_examples": 500}
  return about | {"rows": rows}


@pytest.mark.parametrize(
  "axes", [variants.AXES, ("reference_seed",), ("grid",), ()]
)
def test_every_variant_has_its_line_and_its_dots(axes):
  found = _found(axes)
  shown = [row for row in found["rows"] if row["axis"] in axes]
  figure = trust.stability(found)
  left, middle, right = figure.axes
  assert [t.get_text() for t in left.get_yticklabels()] == [
    row["variant"] for row in shown
  ]
  dots = [line for line in left.lines if line.get_marker() == "o"]
  values = [x for line in dots for x in line.get_xdata()]
  assert values == [row["jaccard"] for row in shown]
  dots = [line for line in middle.lines if line.get_marker() == "o"]
  values = [x for line in dots for x in line.get_xdata()]
  on_maps = [row for row in shown if row["axis"] != "reference_seed"]
  assert values == [row["covers"] for row in on_maps]
  for kind, marker in (("coverage", "o"), ("distance", "D"), ("depth", "s")):
    drawn = [line for line in right.lines if line.get_marker() == marker]
    values = [x for line in drawn for x in line.get_xdata()]
    assert values == [row[kind][0] for row in shown if row[kind]]
    low, high = right.get_xlim()
    assert all(low <= value <= high for value in values)
  assert look.png(figure).startswith(b"\x89PNG")


def test_what_is_not_defined_is_not_drawn():
  found = _found(("grid",))
  for row in found["rows"]:
    row["coverage"] = row["distance"] = [None, None, None]
  right = trust.stability(found).axes[2]
  assert not [line for line in right.lines if line.get_marker() in "oD"]


def test_the_page_has_the_numbers_or_no_section():
  page = page_lib.render(report_data(200, **ONLY_THE_PAGE))["index.html"]
  assert "can the map be trusted" not in page.decode()
  data = report_data(200, **ONLY_THE_PAGE, stability=_found(variants.AXES))
  files = page_lib.render(data)
  assert "stability.png" in files
  text = re.sub(r"<[^>]+>|\s+", " ", files["index.html"].decode())
  text = re.sub(r" +", " ", text)
  assert "How far can the map be trusted?" in text
  for row in data.stability["rows"]:
    if row["variant"] in ("map seed 1", "reference 0 alone"):
      rest = "– – 0.81 – –" if row["depth"] else "0.94 0.75 – 31.1 % –"
      covers = f"{100 * row['covers']:.1f} % 0.679"
      line = f"{row['cells']} {row['jaccard']:.2f} {covers} {rest}"
      assert f"{row['variant']} {line}" in text
  assert "Among the 5,000 examples" in text
  assert "500 of 4,400 candidates" in text

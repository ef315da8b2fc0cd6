"""Contexts in the forms of known data sets."""

import pytest

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import contents
from ila_jax.pool.shapes import fields, turns


@pytest.mark.parametrize(
  ("name", "value", "expected", "told"),
  [
    (  # PubMedQA
      "context",
      {"contexts": ["One.", "Two."], "labels": ["BG"], "meshes": ["M"]},
      "One.\n\nTwo.",
      {"context.labels", "context.meshes"},
    ),
    (  # HotpotQA, of the Hub and as it was published
      "context",
      {"title": ["A", "B"], "sentences": [["1.", " 2."], ["3."]]},
      "A\n1. 2.\n\nB\n3.",
      set(),
    ),
    (
      "context",
      [["A", ["1.", " 2."]], ["B", ["3."]]],
      "A\n1. 2.\n\nB\n3.",
      set(),
    ),
    ("context", {"title": "A", "sentences": ["1.", "2."]}, "A\n1. 2.", set()),
    (  # MS MARCO
      "passages",
      {"passage_text": ["p", "q"], "url": ["x", "y"], "is_selected": [0, 1]},
      "p\n\nq",
      {"passages.is_selected"},
    ),
    (  # MuSiQue
      "paragraphs",
      [{"idx": 0, "title": "A", "paragraph_text": "p", "is_supporting": True}],
      "A\np",
      {"paragraphs.is_supporting"},
    ),
    ("context", {"contexts": None, "text": "p"}, "p", set()),
    ("context", [{"text": "p"}, "q"], "p\n\nq", set()),
  ],
)
def test_contexts(name, value, expected, told):
  record, notes = {"question": "Q", name: value, "answer": "y"}, unread.Notes()
  said = turns.to_turns(
    record, fields.resolve(record, fields.Fields()), notes=notes
  )
  assert [turn.text for turn in said] == [f"Q\n\n{expected}", "y"]
  assert notes.unread == told


@pytest.mark.parametrize(
  "value",
  [
    *([["b"]], [{"page": 1}], {"title": ["A"], "text": []}, {"page": 1}),
    *([["A", ["1."], "x"]], {"title": ["A", "B"], "text": ["one"]}),
  ],
)
def test_no_context(value):
  with pytest.raises(records.Reject, match="context is not text"):
    contents.passages(value, "context")


def test_an_object_that_holds_no_passage_is_told():
  record, notes = {"question": "Q", "context": {"page": 1}}, unread.Notes()
  record["answer"] = "y"
  said = turns.to_turns(record, fields.detect(record), notes=notes)
  assert said[0].text == "Q" and notes.unread == {"context"}

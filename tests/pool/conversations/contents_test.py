"""Parts are read whole or rejected; contexts are read as known data sets do."""

import pytest

from ila_jax.pool import records, unread
from ila_jax.pool.conversations import contents, messages
from ila_jax.pool.shapes import fields, turns


def read(role, content):
  [turn] = messages.read({"role": role, "content": content}, unread.Notes())
  return turn


@pytest.mark.parametrize(
  "part",
  [
    {"type": "text", "text": "q", "image_url": None, "context": ""},
    {"text": "q", "cache_control": {"type": "ephemeral"}, "id": "x"},
    {"type": "output_text", "text": "q", "annotations": [{"url": "u"}]},
    {"text": "q", "thoughtSignature": "x", "thought": False, "images": []},
    {"content_type": "text", "parts": ["q"], "text": None},
    {"text": "q", "parts": None},
    {"text": "q", "value": "q"},
  ],
)
def test_a_text_with_nothing_beside_is_read(part):
  assert read("user", part).text == "q"
  if part.get("parts") is None:
    assert read("user", [part]).text == "q"


@pytest.mark.parametrize(
  "part",
  [
    {"text": "q", "images": ["a.png"]},
    {"type": "text", "text": "q", "context": "An important passage."},
    {"type": "text", "text": "q", "image_url": {"url": "x"}},
    {"text": "q", "inlineData": {"mimeType": "image/png", "data": "x"}},
    {"text": "q", "parts": ["z"]},
    {"type": "text", "text": "q", "file_id": "x"},
    {"content": "q", "text": "z"},
    {"parts": [{"text": "q"}], "documents": ["D"]},
    {"type": "text", "text": "q", "thought": "I ask."},
    {"type": "tool_use", "name": "f", "input": {}, "thought": "I call it."},
    {"type": "tool_use", "name": "f", "input": {}, "text": "I call it."},
    {"functionCall": {"name": "f", "args": {}}, "text": "I call it."},
    {"functionCall": {"name": "f", "args": {}, "note": "I call it."}},
    {"type": "tool_use", "name": "f", "input": {}, "output": "4"},
    {"type": "tool_result", "content": "4", "image": "x"},
  ],
)
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_what_stands_beside_a_text_is_never_dropped(role, part):
  for content in (part, [part], [{"text": "a"}, part]):
    with pytest.raises(records.Reject, match="content is not text"):
      read(role, content)


@pytest.mark.parametrize(
  ("parts", "text", "thought"),
  [
    ([{"text": "T", "thought": True}, {"text": "a"}], "a", "T"),
    ([{"thought": True, "text": "T", "type": "text"}, "a"], "a", "T"),
    (
      [{"text": "T", "thought": True}, {"text": "U", "thought": True}, "a"],
      *("a", "TU"),
    ),
    ([{"text": "T", "thought": False}, {"text": "a"}], "Ta", ""),
    (
      [{"type": "thinking", "thinking": "T", "signature": "s"}, {"text": "a"}],
      *("a", "T"),
    ),
  ],
)
def test_thoughts_among_parts_are_thoughts(parts, text, thought):
  turn = read("model", parts)
  assert (turn.text, turn.thought) == (text, thought)
  [turn] = messages.read({"role": "model", "parts": parts}, unread.Notes())
  assert (turn.text, turn.thought) == (text, thought)


def test_a_thought_of_a_user_is_refused():
  with pytest.raises(records.Reject, match="content is not text"):
    read("user", [{"text": "T", "thought": True}, {"text": "a"}])


@pytest.mark.parametrize(
  ("answer", "text"),
  [
    ({"type": "text", "text": "4", "unit": "m"}, '"unit": "m"'),
    ([{"type": "text", "value": "4"}], "4"),
    ({"text": "4", "id": "x"}, '"id": "x"'),
    ([{"type": "text", "text": "4", "annotations": None}], "4"),
  ],
)
def test_what_a_tool_answers_is_kept_whole(answer, text):
  assert text in contents.data(answer)


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

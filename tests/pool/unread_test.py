"""Which fields may go unread without a word, and which are told."""

import pytest

from ila_jax.pool import examples, records, unread


@pytest.mark.parametrize(
  ("name", "is_ignored"),
  [
    *((name, True) for name in ("id", "prompt-id", "Source URL", "userId")),
    *((name, True) for name in ("created_at", "transparent_id", "imagined_id")),
    *(
      (name, False) for name in ("image_url", "imageId", "video-id", "Image ID")
    ),
    *((name, False) for name in ("images_count", "audio_length", "photo_urls")),
    *((name, False) for name in ("parent_id", "parent_message_id", "prev_id")),
    *((name, False) for name in ("in_reply_to_id", "previous_response_id")),
  ],
)
def test_names_that_are_ignored(name, is_ignored):
  assert unread.is_ignored(name) == is_ignored


@pytest.mark.parametrize(
  "name", ["image_url", "video_id", "parent_id", "file_name"]
)
def test_what_a_question_may_be_about_is_told(name):
  record = {"question": "q", "answer": "a", "id": "1", name: "2"}
  raw = records.RawRecord("a.jsonl", 1, "a", record, "{}")
  notes = examples.Reader(examples.Rules()).example("a.jsonl", raw)[2]
  assert notes.unread == {name}
  raw = records.RawRecord("a.jsonl", 1, "a", record | {name: None}, "{}")
  notes = examples.Reader(examples.Rules()).example("a.jsonl", raw)[2]
  assert notes.unread == set()

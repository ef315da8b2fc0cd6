"""A conversation in one text becomes its turns, or is no conversation."""

import pytest

from ila_jax import transcripts

STYLES = {
  "guanaco": "### Human: a### Assistant: b### Human: c### Assistant: d",
  "alpaca": "### Instruction:\na\n\n### Response:\nb</s>",
  "anthropic": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
  "chatml": (
    "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na<|im_end|>\n"
    "<|im_start|>assistant\nb<|im_end|>\n"
  ),
  "llama 2": "<s>[INST] <<SYS>>\ns\n<</SYS>>\n\na [/INST] b </s>",
  "llama 3": (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\na<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nb<|eot_id|>"
  ),
  "openchatkit": "<human>: a\n<bot>: b",
  "vicuna": "s USER: a ASSISTANT: b</s>USER: c ASSISTANT: d",
}
SAID = {
  "guanaco": "ua ab uc ad",
  "alpaca": "ua ab",
  "anthropic": "ua ab uc ad",
  "chatml": "ss ua ab",
  "llama 2": "ss ua ab",
  "llama 3": "ua ab",
  "openchatkit": "ua ab",
  "vicuna": "ss ua ab uc ad",
}


@pytest.mark.parametrize("name", SAID)
def test_styles(name):
  turns = transcripts.split(STYLES[name])
  assert " ".join(turn.role[0] + turn.text for turn in turns) == SAID[name]


def test_alpacas_preface_and_input_are_read():
  turns = transcripts.split(
    "Below is one.\n\n### Instruction:\na\n\n### Input:\nb\n\n### Response: c"
  )
  assert [turn[:2] for turn in turns] == [
    ("system", "Below is one."),
    ("user", "a\n\nb"),
    ("assistant", "c"),
  ]


@pytest.mark.parametrize(
  "text",
  [
    "",
    "A text.",
    "Humans: and their Assistant: friends",
    "### Assistant: b",
    "### Human: a",
    "\n\nAssistant: b\n\nHuman: a",
    "Before\n\nHuman: a\n\nAssistant: b",
    "# Human: a\n# Assistant: b",
  ],
)
def test_no_transcript(text):
  assert transcripts.split(text) is None

"""A conversation in one text becomes its turns, or is no conversation."""

import gzip
import json
import re
import time

import pytest

from ila_jax.pool import records
from ila_jax.pool.conversations import transcripts
from ila_jax.pool.shapes import fields, turns

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
  "glaive": (
    "USER: a\n\n\nASSISTANT: <functioncall> f <|endoftext|>\n\n\n"
    "FUNCTION RESPONSE: r\n\n\nASSISTANT: b <|endoftext|>\n\n\n"
    "USER: c\n\n\nASSISTANT: d <|endoftext|>\n\n\n"
  ),
  "chatml with tools": (
    "<|im_start|>user name=x\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
    "<|im_start|>observation\nr<|im_end|>\n<|im_start|>function\nq<|im_end|>\n"
    "<|im_start|>assistant\nd<|im_end|>\n"
  ),
  "phi 4": (
    "<|im_start|>system<|im_sep|>s<|im_end|><|im_start|>user<|im_sep|>a"
    "<|im_end|><|im_start|>assistant<|im_sep|>b<|im_end|>"
  ),
  "llama 3 with tools": (
    "<|start_header_id|>user<|end_header_id|>\n\na<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nb<|eom_id|>"
    "<|start_header_id|>environment<|end_header_id|>\n\nr<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nd<|eot_id|>"
  ),
  "llama 4": (
    "<|begin_of_text|><|header_start|>system<|header_end|>\n\ns<|eot|>"
    "<|header_start|>user<|header_end|>\n\na<|eot|>"
    "<|header_start|>assistant<|header_end|>\n\nb<|eot|>"
  ),
  "gemma": (
    "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\n"
    "b<end_of_turn>\n<start_of_turn>user\nc<end_of_turn>\n"
    "<start_of_turn>model\nd<end_of_turn>\n"
  ),
  "phi 3": (
    "<|system|>\ns<|end|>\n<|user|>\na<|end|>\n<|assistant|>\nb<|end|>\n"
    "<|endoftext|>"
  ),
  "zephyr": "<|system|>\ns</s>\n<|user|>\na</s>\n<|assistant|>\nb</s>",
  "mistral": (
    "<s>[SYSTEM_PROMPT]s[/SYSTEM_PROMPT][INST]a[/INST]b</s>[INST]c[/INST]d</s>"
  ),
  "deepseek": (
    "<｜begin▁of▁sentence｜>s<｜User｜>a<｜Assistant｜>b<｜end▁of▁sentence｜>"
    "<｜User｜>c<｜Assistant｜>d<｜end▁of▁sentence｜>"
  ),
  "command r": (
    "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>a<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>b<|END_OF_TURN_TOKEN|>"
  ),
  "lines": "System: s\nHuman: a\nAssistant: b\nHuman: c\nAssistant: d",
  "nemo": (
    "<extra_id_0>System\n\n<extra_id_1>User\na\n<extra_id_1>Assistant\nb\n"
    "<extra_id_1>User\nc\n<extra_id_1>Assistant\nd\n<extra_id_1>"
  ),
  "helpsteer2": "a\n<extra_id_1>Assistant\nb\n<extra_id_1>User\nc\n"
  "<extra_id_1>Assistant\nd\n",
  "orca": "### System:\ns\n\n### User:\na\n\n### Assistant:\nb",
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
  "glaive": "ua a<functioncall> f tr ab uc ad",
  "chatml with tools": "ua ab tr tq ad",
  "phi 4": "ss ua ab",
  "llama 3 with tools": "ua ab tr ad",
  "llama 4": "ss ua ab",
  "gemma": "ua ab uc ad",
  "phi 3": "ss ua ab",
  "zephyr": "ss ua ab",
  "mistral": "ss ua ab uc ad",
  "deepseek": "ss ua ab uc ad",
  "command r": "ua ab",
  "lines": "ss ua ab uc ad",
  "nemo": "s ua ab uc ad",
  "helpsteer2": "ua ab uc ad",
  "orca": "ss ua ab",
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


@pytest.mark.parametrize(
  ("name", "old", "new", "found"),
  [
    ("chatml", ">system", ">narrator", "turn 1 of 3: 'narrator'"),
    ("chatml", ">system", ">", "turn 1 of 3: ''"),
    ("chatml", ">system\n", ">user hello\n", "turn 1 of 3: 'user hello'"),
    ("llama 3 with tools", "environment", "weather", "turn 3 of 4: 'weather'"),
    ("llama 4", "system", "narrator", "turn 1 of 3: 'narrator'"),
    ("gemma", "turn>model", "turn>narrator", "turn 2 of 4: 'narrator'"),
    ("phi 3", "|system|", "|narrator|", "turn 1 of 3: 'narrator'"),
    ("phi 3", "\na<", "\n<|image_1|>\na<", "turn 3 of 4: 'image_1'"),
    ("mistral", "d</s>", "d[TOOL_CALLS][]</s>", "turn 6 of 6: '[TOOL_CALLS]'"),
    ("deepseek", "｜User", "｜tool▁sep", "turn 1 of 4: 'tool▁sep'"),
    ("command r", "CHATBOT", "NARRATOR", "turn 2 of 2: 'NARRATOR'"),
    ("glaive", "FUNCTION RESPONSE", "NARRATOR", "'NARRATOR'"),
    ("glaive", "FUNCTION RESPONSE", "Weather report", "'Weather report'"),
    ("vicuna", "</s>USER", "</s>NARRATOR: n</s>USER", "'NARRATOR'"),
  ],
)
def test_an_unknown_role_is_a_reject_by_name(name, old, new, found):
  text = STYLES[name].replace(old, new, 1)
  assert text != STYLES[name] and transcripts.is_one(text)
  with pytest.raises(records.Reject, match="unknown role") as caught:
    transcripts.split(text)
  assert caught.value.detail.endswith(found)


@pytest.mark.parametrize("name", ["chatml", "llama 3", "gemma", "phi 3"])
def test_text_between_turns_is_a_reject(name):
  end = {"chatml": "<|im_end|>", "llama 3": "<|eot_id|>"}
  end = end.get(name, "<end_of_turn>" if name == "gemma" else "<|end|>")
  text = STYLES[name].replace(end, f"{end} a word", 1)
  with pytest.raises(records.Reject, match="text between turns") as caught:
    transcripts.split(text)
  assert "'a word'" in caught.value.detail


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    # A system turn comes first, or it is none.
    (
      "USER: What does\nSYSTEM: x mean ASSISTANT: b</s>USER: c ASSISTANT: d",
      "uWhat does\nSYSTEM: x mean ab uc ad",
    ),
    ("What is SYSTEM: x USER: a ASSISTANT: b", "sWhat is SYSTEM: x ua ab"),
    ("Human: a\nAI: The\nBot: c\nHuman: d\nAI: e", "ua aThe\nBot: c ud ae"),
    (
      "USER: a\nASSISTANT: On a SYSTEM: b\nUSER: c\nASSISTANT: d",
      "ua aOn a SYSTEM: b uc ad",
    ),
    # One family of headings makes a transcript.
    (
      "### Human: Fill ### Input: and ### Response: in.### Assistant: b",
      "uFill ### Input: and ### Response: in. ab",
    ),
    (
      "### Instruction:\na\n\n### Response:\nb\n### Output:\n3",
      "ua ab\n### Output:\n3",
    ),
    (
      "### Instruction:\nUse ### Input: x\n\n### Input:\nb\n\n### Response: c",
      "uUse ### Input: x\n\nb ac",
    ),
    ("### Instruction: a ### Input: b ### Response: c", "ua\n\nb ac"),
    # Lines decide where they alternate.
    (
      "USER: a\nASSISTANT: The USER: field.\nUSER: c\nASSISTANT: d",
      "ua aThe USER: field. uc ad",
    ),
    (
      "USER: a\nASSISTANT: b\nOBSERVATION: fine\nUSER: c\nASSISTANT: d",
      "ua ab\nOBSERVATION: fine uc ad",
    ),
    ("USER: a\nASSISTANT: b\nTOOL: r\nASSISTANT: d", "ua ab tr ad"),
    # The style that begins first holds the others as text.
    (
      "USER: Explain <|im_start|>user and <|im_start|>assistant ASSISTANT: b",
      "uExplain <|im_start|>user and <|im_start|>assistant ab",
    ),
    # HTML is text.
    (
      "USER: a <s>old</s> new ASSISTANT: <b>b</b></s>",
      "ua <s>old</s> new a<b>b</b>",
    ),
    # Llama 2 has its system text in its first turn only.
    (
      "[INST] a [/INST] b </s><s>[INST] <<SYS>> x <</SYS>> c [/INST] d </s>",
      "ua ab u<<SYS>> x <</SYS>> c ad",
    ),
    ("### Human: a <<SYS>> x <</SYS>>### Assistant: b", None),
  ],
)
def test_marks_within_a_text_are_its_words(text, expected):
  said = " ".join(turn.role[0] + turn.text for turn in transcripts.split(text))
  assert said == (expected or "ua <<SYS>> x <</SYS>> ab")


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("USER: a\nUSER: b\nASSISTANT: c", "do not alternate"),
    (
      "USER: a\nASSISTANT: b\nSYSTEM: s\nUSER: c\nASSISTANT: d",
      "do not alternate",
    ),
    ("### Human: a### Assistant: b### Assistant: c", "do not alternate"),
    (
      "USER: a ASSISTANT: b</s>USER: c USER: d ASSISTANT: e",
      "do not alternate",
    ),
    ("USER: a ASSISTANT: The USER: field is empty.", "do not alternate"),
    ("USER: a ASSISTANT: b USER: c\nASSISTANT: d", "reads in two ways"),
  ],
)
def test_a_transcript_that_is_not_clear_is_a_reject(text, reason):
  with pytest.raises(records.Reject, match=reason):
    transcripts.split(text)


def _read(record):
  said = turns.to_turns(record, fields.resolve(record, fields.Fields()))
  return " ".join(turn.role[0] + turn.text for turn in said)


@pytest.mark.parametrize("name", ["gemma", "guanaco", "glaive", "llama 3"])
def test_fields_beside_a_transcript_are_carried(name):
  record = {"text": STYLES[name], "system": "s", "tools": [{"name": "f"}]}
  assert _read(record) == f't[{{"name": "f"}}] ss {SAID[name]}'


@pytest.mark.parametrize("name", ["chatml", "vicuna", "deepseek"])
def test_a_system_field_and_a_system_turn_both_stand(name):
  record = {"chat": STYLES[name], "system_prompt": "t"}
  assert _read(record) == f"st {SAID[name]}"
  assert _read(record | {"system_prompt": "s"}) == SAID[name]
  assert _read(record | {"system_prompt": ""}) == SAID[name]
  assert _read(record | {"system_prompt": None}) == SAID[name]


def test_glaives_system_field_loses_its_mark():
  record = {"system": "SYSTEM: s", "chat": STYLES["glaive"]}
  assert _read(record) == f"ss {SAID['glaive']}"


def test_real_tool_conversations_as_one_text(shared):
  # The same turns, whether they are a list or written down as Glaive does.
  path = shared / "data" / "glaive_toolcall_300.jsonl.gz"
  with gzip.open(path, "rt", encoding="utf-8") as lines:
    real = [json.loads(line)["conversations"] for line in lines]
  marks = {
    "human": "USER: {}\n\n\n",
    "gpt": "ASSISTANT: {} <|endoftext|>\n\n\n",
    "function_call": "ASSISTANT: <functioncall> {} <|endoftext|>\n\n\n",
    "observation": "FUNCTION RESPONSE: {}\n\n\n",
  }
  for said in real:
    text = "".join(marks[turn["from"]].format(turn["value"]) for turn in said)
    expected = [turn["value"].strip() for turn in said]
    found = transcripts.split(text)
    texts = [turn.text.removeprefix("<functioncall> ") for turn in found]
    assert texts == expected
    assert [turn.role == "tool" for turn in found] == [
      turn["from"] == "observation" for turn in said
    ]


@pytest.mark.parametrize("name", ["anthropic", "alpaca", "chatml", "mistral"])
def test_a_prompt_that_is_a_transcript_keeps_its_turns(name):
  text = STYLES[name]
  for end in ("</s>", "<|im_end|>\n"):
    text = text.removesuffix(end)
  last = SAID[name].split()[-1]
  prompt, answer = text[: -len(last[1:])], text[-len(last[1:]) :]
  assert _read({"prompt": prompt, "response": answer}) == SAID[name]
  assert _read({"text": prompt, "response": answer}) == SAID[name]
  # Preference data repeat the prompt in the answer.
  assert _read({"prompt": prompt, "chosen": STYLES[name]}) == SAID[name]
  # One that does not ask by a mark is words of the user.
  for words in (STYLES[name], "What is USER: x ASSISTANT:"):
    quoted = {"prompt": words, "response": "fine"}
    assert turns.to_turns(quoted, fields.detect(quoted))[0].text == words


def test_an_answer_that_is_a_transcript_of_something_else_is_a_text():
  record = {"prompt": "Write a dialogue.", "response": STYLES["anthropic"]}
  assert _read(record) == f"uWrite a dialogue. a{STYLES['anthropic']}"


# How each style ends an answer, and asks for one.
_ENDS = {
  "chatml": "<|im_end|>",
  "llama 3": "<|eot_id|>",
  "gemma": "<end_of_turn>\n<eos>",
  "phi 3": "<|end|><|endoftext|>",
  "zephyr": "</s>",
  "mistral": "</s>",
  "deepseek": "<｜end▁of▁sentence｜>",
  "command r": "<|END_OF_TURN_TOKEN|>",
  "nemo": "\n<extra_id_1>",
  "vicuna": "</s>",
  "anthropic": "<|endoftext|>",
}


@pytest.mark.parametrize("name", _ENDS)
def test_what_ends_an_answer_is_no_part_of_it(name):
  text = re.sub(r"^(<｜begin▁of▁sentence｜>)?s *(?=<｜|USER)", "", STYLES[name])
  last = SAID[name].split()[-1][1:]
  prompt = re.match(rf".*[\s>\]](?={last}(?![a-z]))", text, re.DOTALL)[
    0
  ].rstrip(" ")
  begun = " " if name in ("mistral", "vicuna") else ""
  for shape in (("prompt", "completion"), ("text", "response")):
    for said, kept in (
      (f"{begun}Yes.{_ENDS[name]}", "Yes."),
      (f"{begun}Yes.{_ENDS[name]}\n", "Yes."),
      ("<|im_x|> or <s>old</s>", "<|im_x|> or <s>old</s>"),
      (f"Write {_ENDS[name]} there.", f"Write {_ENDS[name]} there."),
    ):
      record = dict(zip(shape, (prompt, said), strict=True))
      assert turns.to_turns(record, fields.detect(record))[-1].text == kept
  # Beside a question in words the token is a word of the answer.
  record = {"prompt": "How does it end?", "response": f"By {_ENDS[name]}"}
  assert turns.to_turns(record, fields.detect(record))[-1].text == (
    f"By {_ENDS[name]}"
  )


def test_an_end_of_another_format_is_a_word():
  record = {"prompt": STYLES["chatml"][: -len("b<|im_end|>\n")]}
  record["response"] = "Llama writes <|eot_id|>"
  assert turns.to_turns(record, fields.detect(record))[-1].text == (
    "Llama writes <|eot_id|>"
  )


@pytest.mark.parametrize(
  ("prompt", "expected"),
  [
    ("<extra_id_0>System\ns\n<extra_id_1>User\na\n", "ss ua"),
    ("a\n<extra_id_1>Assistant\nb\n<extra_id_1>User\nc", "ua ab uc"),
    ("<|im_start|>user\na<|im_end|>\n", "ua"),
    ("[INST] a [/INST] b</s>[INST] c", "ua ab uc"),
    # Words about marks, and marks alone.
    ("<|im_start|>user\n", None),
    ("What is\n<｜User｜>a<｜Assistant｜>b<｜User｜>c", None),
    ("What is <|im_start|>user\na<|im_end|>", None),
    ("<|im_start|>user\na<|im_end|>\nWhat is this?", None),
    ("USER: a ASSISTANT: b USER: c", None),
  ],
)
def test_a_prompt_of_tokens_may_end_with_the_user(prompt, expected):
  if expected is None:
    record = {"prompt": prompt, "response": "d"}
    assert turns.to_turns(record, fields.detect(record))[0].text == prompt
  else:
    assert _read({"prompt": prompt, "response": "d"}) == f"{expected} ad"


def test_sentinels_of_other_texts_are_words():
  text = "The <extra_id_0> walks in <extra_id_1> park.\n<extra_id_1>User"
  record = {"prompt": text, "response": "dog"}
  assert turns.to_turns(record, fields.detect(record))[0].text == text


@pytest.mark.parametrize(
  "pair",
  [
    *("Human: a\nAssistant: b\n", "### Human: a### Assistant: b\n"),
    *("USER: a ASSISTANT: b ", "USER: a\nTOOL: c\nASSISTANT: b\n"),
    *("<|user|>a<|end|><|assistant|>b<|end|>", "[INST] a [/INST] b </s>"),
  ],
)
def test_long_transcripts_take_time_in_proportion(pair):
  began = time.process_time()
  turns = transcripts.split(pair * 16_000)
  assert len(turns) >= 32_000
  assert time.process_time() - began < 3


@pytest.mark.parametrize(
  ("prompt", "expected"),
  [
    ("A chat with a bot. USER: a ASSISTANT:", "sA chat with a bot. ua"),
    (
      "A chat. USER: a ASSISTANT: b</s>USER: c ASSISTANT:",
      "sA chat. ua ab uc",
    ),
    ("A chat.### Human: a### Assistant:", "sA chat. ua"),
    # Words about marks.
    ("What is this? USER: a ASSISTANT:", None),
    ("A chat. USER: a ASSISTANT: b", None),
  ],
)
def test_a_prompt_with_a_system_text_before_its_marks(prompt, expected):
  record = {"prompt": prompt, "output": "Nile"}
  assert _read(record) == f"{expected or 'u' + prompt} aNile"

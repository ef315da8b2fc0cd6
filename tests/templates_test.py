"""The rendered text against the templates' own words, span by span."""

import datetime

import pytest

from ila_jax import errors, records, templates, tokens

CHATML = (
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
  "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA2 = (
  "{% for m in messages %}{% if m.role == 'user' %}"
  "{{ '[INST] ' + m.content + ' [/INST]' }}"
  "{% elif m.role == 'assistant' %}"
  "{{ ' ' + m.content | trim + ' ' + eos_token }}"
  "{% else %}{{ raise_exception('Only user and assistant roles!') }}"
  "{% endif %}{% endfor %}"
)
# Gemma: no system turn, and turns in alternation.
GEMMA = (
  "{% if messages[0].role == 'system' %}{{ raise_exception('No system!') }}"
  "{% endif %}{% for m in messages %}"
  "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
  "{{ raise_exception('Roles must alternate!') }}{% endif %}<|im_start|>"
  "{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}"
  "<|im_end|>\n{% endfor %}"
  "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
# Phi-3: a text that asks for nothing ends with one more token.
PHI3 = (
  "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + "
  "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
  "{{ '<|im_start|>assistant\n' }}{% else %}<|endoftext|>{% endif %}"
)
# Zephyr: what asks for an answer lacks the newline before the answer.
ZEPHYR = CHATML.replace("assistant\n{% endif", "assistant{% endif")
# Qwen3: an empty thought before the last answer only.
QWEN3 = CHATML.replace(
  "{{ m.role }}\n",
  "{{ m.role }}\n{% if loop.last and m.role == 'assistant' %}"
  "{{ '<think>\n\n</think>\n\n' }}{% endif %}",
)
TRIMMED = CHATML.replace("m.content", "m.content | trim")
NO_END = (
  "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
  "{% if add_generation_prompt %}assistant: {% endif %}"
)
NO_END_TRIMMED = NO_END.replace("m.content", "m.content | trim")


def turns(*texts: str, system: str = "") -> list[records.Turn]:
  """User and assistant in alternation."""
  roles = ("user", "assistant")
  head = [records.Turn("system", system)] if system else []
  return head + [
    records.Turn(roles[i % 2], text) for i, text in enumerate(texts)
  ]


@pytest.fixture(scope="module")
def qwen2(shared):
  return tokens.load_tokenizer(shared / "models/qwen2")


@pytest.fixture
def templated(qwen2, monkeypatch):
  """Qwen2's tokenizer with another chat template."""

  def with_template(template):
    monkeypatch.setattr(qwen2, "chat_template", template)
    return qwen2

  return with_template


def parts(conversation, tokenizer):
  text, spans = templates.render(conversation, tokenizer)
  return [text[begin:end] for begin, end in spans]


@pytest.mark.parametrize(
  ("name", "template", "expected"),
  [
    ("chatml", CHATML, ["a1<|im_end|>", "a2<|im_end|>"]),
    ("llama2", LLAMA2, [" a1 <|im_end|>", " a2 <|im_end|>"]),
    ("phi3", PHI3, ["a1<|im_end|>", "a2<|im_end|>"]),
    ("zephyr", ZEPHYR, ["\na1<|im_end|>", "\na2<|im_end|>"]),
    ("qwen3", QWEN3, ["a1<|im_end|>", "a2<|im_end|>"]),
    ("trimmed", TRIMMED, ["a1<|im_end|>", "a2<|im_end|>"]),
    ("no end", NO_END, ["a1", "a2"]),
  ],
)
def test_spans_are_what_the_model_must_produce(
  templated, name, template, expected
):
  tokenizer = templated(template)
  assert parts(turns("q1", "a1", "q2", "a2"), tokenizer) == expected


def test_text_is_the_template_s_own(qwen2):
  conversation = turns("q1", "a1", "q2", "a2", system="Be brief.")
  text, _ = templates.render(conversation, qwen2)
  messages = [{"role": t.role, "content": t.text} for t in conversation]
  assert text == qwen2.apply_chat_template(messages, tokenize=False)


@pytest.mark.parametrize(
  "answer",
  [
    "user",
    "assistant",
    "q",
    "<|im_end|>",
    "\n",
    "im",
    "a<|im_end|>\n<|im_start|>user\na",
  ],
)
def test_answer_that_stands_elsewhere_in_the_text_too(templated, answer):
  tokenizer = templated(CHATML)
  conversation = turns("q", answer, answer, answer)
  text, spans = templates.render(conversation, tokenizer)
  # Rendered by hand, from the definition of ChatML.
  first = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"
  second = first + f"{answer}<|im_end|>\n<|im_start|>user\n"
  second += f"{answer}<|im_end|>\n<|im_start|>assistant\n"
  width = len(answer + "<|im_end|>")
  assert text == f"{second}{answer}<|im_end|>\n"
  assert spans == [
    (len(first), len(first) + width),
    (len(second), len(second) + width),
  ]


def test_answer_like_the_thought_put_before_it(templated):
  tokenizer = templated(QWEN3)
  text, [(begin, _)] = templates.render(turns("q", "think"), tokenizer)
  assert text[:begin].endswith("</think>\n\n")
  assert parts(turns("q", "<think>\nx\n</think>\n\ny"), tokenizer) == [
    "<think>\nx\n</think>\n\ny<|im_end|>"
  ]


@pytest.mark.parametrize("answer", [" a", "\n\na", "a ", "a\n", "\t a \n "])
def test_space_around_an_answer(templated, answer):
  conversation = turns("q", answer)
  assert parts(conversation, templated(CHATML)) == [answer + "<|im_end|>"]
  # What a template strips is not there to be learned.
  assert parts(conversation, templated(TRIMMED)) == [
    answer.strip() + "<|im_end|>"
  ]


@pytest.mark.parametrize("template", [TRIMMED, NO_END_TRIMMED])
def test_stripped_answer_that_the_user_repeats(templated, template):
  tokenizer = templated(template)
  text, spans = templates.render(
    turns("q", " yes", "oh yes", "\nyes"), tokenizer
  )
  assert [text[begin:][:3] for begin, _ in spans] == ["yes", "yes"]
  assert spans[0][0] == text.index("yes") < text.index("oh yes")


def test_assistant_turns_in_a_row(templated):
  conversation = [
    records.Turn("user", "q"),
    records.Turn("assistant", "a"),
    records.Turn("assistant", "a"),
    records.Turn("user", "q"),
    records.Turn("assistant", "a"),
  ]
  expected = ["a<|im_end|>"] * 3
  assert parts(conversation, templated(CHATML)) == expected


def test_template_that_breaks_the_prefix_is_a_reject(templated):
  # Asked for an answer, it adds what is not there once the answer is.
  template = CHATML.replace(
    "{% for", "{% if add_generation_prompt %}Think!{% endif %}{% for", 1
  )
  with pytest.raises(records.Reject, match="what stands before an answer"):
    templates.render(turns("q", "a"), templated(template))


@pytest.mark.parametrize(
  "rewrite", ["m.content | upper", "m.content[:6]", "'static'"]
)
def test_template_that_rewrites_an_answer_is_a_reject(templated, rewrite):
  template = CHATML.replace(
    "m.content", f"({rewrite}) if m.content == 'sincerely' else m.content"
  )
  assert parts(turns("q", "a"), templated(template)) == ["a<|im_end|>"]
  for rest in ((), ("sincerely", "a")):
    with pytest.raises(records.Reject, match="rewrites or drops an answer"):
      templates.render(turns("q", "sincerely", *rest), templated(template))


@pytest.mark.parametrize("template", [CHATML, NO_END])
def test_template_that_drops_an_answer_is_a_reject(templated, template):
  template = template.replace(
    "m.content", "m.content if m.content != 'lost' else ''"
  )
  assert parts(turns("q", "a", "a", "a"), templated(template))
  for texts in (("q", "lost"), ("q", "lost", "q", "a")):
    with pytest.raises(records.Reject, match="rewrites or drops an answer"):
      templates.render(turns(*texts), templated(template))
  with pytest.raises(records.Reject, match="drops a turn") as error:
    templates.render(turns("q", "a", "lost", "a"), templated(template))
  assert error.value.detail == "turn 3 of 4, user"


def test_template_that_refuses_a_turn_is_a_reject(templated):
  conversation = [*turns("q", "a"), *turns("q", "a")[1:]]
  with pytest.raises(records.Reject, match="chat template refuses") as error:
    templates.render(conversation, templated(GEMMA))
  assert error.value.detail == "turn 3 of 3, assistant: Roles must alternate!"


@pytest.mark.parametrize(
  "template", ["{{ raise_exception('tools only') }}", "{{ nothing.at.all }}"]
)
def test_template_that_renders_nothing_is_an_input_error(templated, template):
  with pytest.raises(errors.InputError, match="another chat template"):
    templates.render(turns("q", "a"), templated(template))


def test_first_turn_of_the_assistant_is_a_reject(templated):
  with pytest.raises(records.Reject, match="no prompt"):
    templates.render([records.Turn("assistant", "a")], templated(CHATML))


@pytest.mark.parametrize(
  "form", ["%d %b %Y", "%Y-%m-%d", "%B %d, %Y", "%d/%m/%y"]
)
def test_date_in_a_template_is_always_the_same(templated, form):
  template = f"{{{{ strftime_now('{form}') }}}} \n" + CHATML
  text, _ = templates.render(turns("q", "a"), templated(template))
  day = datetime.date(2024, 7, 26).strftime(form)
  assert text.startswith(day + " \n<|im_start|>user\nq")


class Plain:
  chat_template = None
  bos_token = "<s>"
  eos_token = "</s>"


def test_alpaca_text_and_spans():
  text, spans = templates.render(turns("q1\n\nin", "a1", "q2", "a2"), Plain())
  assert text == (
    "<s>Below is an instruction that describes a task. Write a response that "
    "appropriately completes the request.\n\n### Instruction:\nq1\n\nin\n\n"
    "### Response:\na1</s>\n\n### Instruction:\nq2\n\n### Response:\na2</s>"
  )
  assert [text[b:e] for b, e in spans] == ["a1</s>", "a2</s>"]


def test_alpaca_system_turn_stands_for_the_preface():
  text, _ = templates.render(turns("q", "a", system="Be brief."), Plain())
  assert text.startswith("<s>Be brief.\n\n### Instruction:\nq\n\n")


def test_alpaca_keeps_every_space_of_an_answer():
  text, [(begin, end)] = templates.render(turns("q", "\n a \n\n"), Plain())
  assert text[begin:end] == "\n a \n\n</s>"

"""The rendered text against the templates' own words, span by span."""

import datetime

import pytest

from ila_jax import errors
from ila_jax.pool import records
from ila_jax.pool.tokens import chat_template as chat_template_lib
from ila_jax.pool.tokens import tokenizer as tokenizer_lib

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
  return tokenizer_lib.load_tokenizer(shared / "models/qwen2")


@pytest.fixture
def templated(qwen2, monkeypatch):
  """Qwen2's tokenizer with another chat template."""

  def with_template(template):
    monkeypatch.setattr(qwen2, "chat_template", template)
    return qwen2

  return with_template


def parts(conversation, tokenizer):
  text, spans = chat_template_lib.render(conversation, tokenizer)
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
  text, _ = chat_template_lib.render(conversation, qwen2)
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
  text, spans = chat_template_lib.render(conversation, tokenizer)
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
  text, [(begin, _)] = chat_template_lib.render(turns("q", "think"), tokenizer)
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
  text, spans = chat_template_lib.render(
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
    chat_template_lib.render(turns("q", "a"), templated(template))


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
      chat_template_lib.render(
        turns("q", "sincerely", *rest), templated(template)
      )


@pytest.mark.parametrize("template", [CHATML, NO_END])
def test_template_that_drops_an_answer_is_a_reject(templated, template):
  template = template.replace(
    "m.content", "m.content if m.content != 'lost' else ''"
  )
  assert parts(turns("q", "a", "a", "a"), templated(template))
  for texts in (("q", "lost"), ("q", "lost", "q", "a")):
    with pytest.raises(records.Reject, match="rewrites or drops an answer"):
      chat_template_lib.render(turns(*texts), templated(template))
  with pytest.raises(records.Reject, match="drops a turn") as error:
    chat_template_lib.render(turns("q", "a", "lost", "a"), templated(template))
  assert error.value.detail == "user turn 2"


def test_template_that_refuses_a_turn_is_a_reject(templated):
  conversation = [*turns("q", "a"), *turns("q", "a")[1:]]
  with pytest.raises(records.Reject, match="chat template refuses") as error:
    chat_template_lib.render(conversation, templated(GEMMA))
  assert error.value.detail == "assistant turn 2: Roles must alternate!"


@pytest.mark.parametrize(
  "template", ["{{ raise_exception('tools only') }}", "{{ nothing.at.all }}"]
)
def test_template_that_renders_nothing_is_an_input_error(templated, template):
  with pytest.raises(errors.InputError, match="another chat template"):
    chat_template_lib.render(turns("q", "a"), templated(template))


def test_first_turn_of_the_assistant_is_a_reject(templated):
  with pytest.raises(records.Reject, match="no prompt"):
    chat_template_lib.render(
      [records.Turn("assistant", "a")], templated(CHATML)
    )


@pytest.mark.parametrize(
  "form",
  [
    *(
      "%d %b %Y",
      "%Y-%m-%d",
      "%B %d, %Y",
      "%d/%m/%y",
      "%A, %-d. %-m.",
      "%j %%",
    ),
    *(
      "%H:%M:%S",
      "%I:%M %p",
      "%c",
      "%F %T",
      "%x %X",
      "%D %R",
      "%a %e",
      "%U %W",
    ),
  ],
)
def test_date_in_a_template_is_always_the_same(templated, form):
  template = f"{{{{ strftime_now('{form}') }}}} \n" + CHATML
  text, _ = chat_template_lib.render(turns("q", "a"), templated(template))
  day = datetime.datetime(2024, 7, 26).strftime(form)
  assert text.startswith(day + " \n<|im_start|>user\nq")


class Plain:
  chat_template = None
  bos_token = "<s>"
  eos_token = "</s>"


def test_alpaca_text_and_spans():
  text, spans = chat_template_lib.render(
    turns("q1\n\nin", "a1", "q2", "a2"), Plain()
  )
  assert text == (
    "<s>Below is an instruction that describes a task. Write a response that "
    "appropriately completes the request.\n\n### Instruction:\nq1\n\nin\n\n"
    "### Response:\na1</s>\n\n### Instruction:\nq2\n\n### Response:\na2</s>"
  )
  assert [text[b:e] for b, e in spans] == ["a1</s>", "a2</s>"]


def test_alpaca_system_turn_stands_for_the_preface():
  text, _ = chat_template_lib.render(
    turns("q", "a", system="Be brief."), Plain()
  )
  assert text.startswith("<s>Be brief.\n\n### Instruction:\nq\n\n")


def test_alpaca_keeps_every_space_of_an_answer():
  text, [(begin, end)] = chat_template_lib.render(
    turns("q", "\n a \n\n"), Plain()
  )
  assert text[begin:end] == "\n a \n\n</s>"


# Written anew after what Qwen3's template does.
QWEN3_THINKS = (
  "{% set ns = namespace(last=-1) %}{% for m in messages %}"
  "{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}"
  "{% endfor %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
  "{% set text = m.content %}{% set thought = m.reasoning_content or '' %}"
  "{% if m.role == 'assistant' and '</think>' in text %}"
  "{% set thought = text.split('</think>')[0].split('<think>')[-1] %}"
  "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}"
  "{% if m.role == 'assistant' and loop.index0 > ns.last %}"
  "{{ '<think>\n' + thought.strip('\n') + '\n</think>\n\n' }}"
  "{{ text.lstrip('\n') }}{% else %}{{ text }}{% endif %}{{ '<|im_end|>\n' }}"
  "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Asked for an answer, it opens a thought (QwQ, DeepSeek-R1).
OPENS = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
# Qwen2.5's and Hermes's way to show tools and calls.
TOOLS = (
  "{% if tools %}<|im_start|>system\n"
  "{% if messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}"
  "{% endif %}{% for t in tools %}{{ t | tojson }}{% endfor %}<|im_end|>\n"
  "{% elif messages[0].role == 'system' %}"
  "<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n{% endif %}"
  "{% for m in messages %}{% if m.role == 'tool' %}"
  "{{ '<|im_start|>user\n<tool_response>' + m.content + '</tool_response>' }}"
  "<|im_end|>\n{% elif m.role != 'system' %}"
  "{{ '<|im_start|>' + m.role + '\n' + m.content }}"
  "{% for c in m.tool_calls or [] %}{% set f = c.function %}"
  "{{ '<call>' + f.name + ARGUMENTS + '</call>' }}{% endfor %}<|im_end|>\n"
  "{% endif %}{% endfor %}"
  "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As DeepSeek-R1's: no answer shows its thought.
NO_THOUGHT = CHATML.replace("m.content", "m.content.split('</think>')[-1]")
THOUGHT = "<think>\none\n</think>\n\na1"


def user(text):
  return records.Turn("user", text)


def assistant(text, **kwargs):
  return records.Turn("assistant", text, **kwargs)


@pytest.mark.parametrize(
  ("template", "first", "second", "expected"),
  [
    # A thought dropped later: the answer is no longer what was given.
    (QWEN3_THINKS, assistant("a1", thought="one"), "a2", ["a2"]),
    (QWEN3_THINKS, assistant(THOUGHT), "a2", ["a2"]),
    (QWEN3_THINKS, assistant("a1"), "a2", ["a1", "a2"]),
    (
      QWEN3_THINKS,
      assistant("a1"),
      assistant("a2", thought="two"),
      ["a1", "<think>\ntwo\n</think>\n\na2"],
    ),
    (
      QWEN3_THINKS,
      assistant("a1"),
      "<think>two</think>a2",
      ["a1", "<think>\ntwo\n</think>\n\na2"],
    ),
    # What the template says for the model is not asked of the model.
    (OPENS, assistant("a1"), "a2", ["a1", "a2"]),
    (OPENS, assistant(THOUGHT), "a2", ["one\n</think>\n\na1", "a2"]),
    (
      OPENS,
      assistant("a1", thought="one"),
      "<think>two</think>a2",
      ["one\n</think>\n\na1", "two</think>a2"],
    ),
    (
      CHATML,
      assistant("a1", thought="one"),
      "a2",
      ["<think>\none\n</think>\n\na1", "a2"],
    ),
  ],
)
def test_thoughts(templated, template, first, second, expected):
  second = assistant(second) if isinstance(second, str) else second
  conversation = [user("q1"), first, user("q2"), second]
  found = parts(conversation, templated(template))
  assert found == [part + "<|im_end|>" for part in expected]


@pytest.mark.parametrize(
  ("template", "answer", "expected"),
  [
    (QWEN3_THINKS, "\na", "a"),
    (QWEN3_THINKS, "\n\n  a\n", "  a\n"),
    (QWEN3_THINKS, "a", "a"),
    # This one does not strip: the newline is the answer's own.
    (QWEN3, "\na", "\na"),
    (CHATML, "\n\na", "\n\na"),
    (TRIMMED, "\n\na", "a"),
  ],
)
def test_answer_that_begins_with_a_newline(
  templated, template, answer, expected
):
  expected = [expected + "<|im_end|>"]
  assert parts(turns("q", answer), templated(template)) == expected
  # The conversation before it changes nothing.
  assert (
    parts(turns("q", "b", "q", answer), templated(template))[1:] == expected
  )


def test_masked_answers_are_context(templated):
  conversation = turns("q1", "wrong", "q2", "right", "q3", "bad")
  for place in (1, 5):
    conversation[place] = conversation[place]._replace(is_learnt=False)
  for tokenizer in (templated(CHATML), Plain()):
    text, spans = chat_template_lib.render(conversation, tokenizer)
    assert [text[b:e].partition("<")[0] for b, e in spans] == ["right"]
    assert "wrong" in text and "bad" in text
  nobody = [turn._replace(is_learnt=False) for turn in conversation]
  assert not parts(nobody, templated(CHATML))
  assert not parts(nobody, Plain())


CALLS = '[{"id": "c1", "function": {"name": "add", "arguments": {"x": "你"}}}]'
LEGACY = '[{"name": "add", "arguments": "{\\"x\\": \\"你\\"}"}]'


@pytest.mark.parametrize("calls", [CALLS, LEGACY])
@pytest.mark.parametrize(
  "arguments", ["(f.arguments | tojson)", "f.arguments", "'-' + f.arguments"]
)
def test_calls_and_tools_are_given_to_the_template(templated, arguments, calls):
  tokenizer = templated(TOOLS.replace("ARGUMENTS", arguments))
  conversation = [
    records.Turn("tools", '[{"name": "add", "description": "Adds."}]'),
    records.Turn("system", "Be brief."),
    user("q"),
    assistant("", calls=calls),
    records.Turn("tool", "3"),
    assistant("Done."),
  ]
  text, spans = chat_template_lib.render(conversation, tokenizer)
  sign = "-" if "-" in arguments else ""
  assert [text[b:e] for b, e in spans] == [
    f'<call>add{sign}{{"x": "你"}}</call><|im_end|>',
    "Done.<|im_end|>",
  ]
  assert text.startswith(
    '<|im_start|>system\nBe brief.\n\n{"type": "function", "function": '
    '{"name": "add", "description": "Adds."}}<|im_end|>\n'
  )
  assert "<tool_response>3</tool_response>" in text


@pytest.mark.parametrize("tokenizer", ["chatml", "plain"])
def test_what_cannot_be_shown_stands_in_the_text(templated, tokenizer):
  tokenizer = templated(CHATML) if tokenizer == "chatml" else Plain()
  conversation = [
    records.Turn("tools", '[{"name": "add"}]'),
    records.Turn("system", "Be brief."),
    user("q"),
    assistant("I add.", calls=CALLS, thought="hm"),
    records.Turn("tool", "3"),
    assistant("Done."),
  ]
  text, spans = chat_template_lib.render(conversation, tokenizer)
  assert 'Be brief.\n\n[{"name": "add"}]' in text
  first, second = (text[b:e] for b, e in spans)
  assert first.startswith(f"<think>\nhm\n</think>\n\nI add.\n{CALLS}<")
  assert second.startswith("Done.<")
  assert text.index("hm") < text.index("\n3") < text.index("Done.")


def test_system_turn_that_a_template_refuses_joins_the_user(templated):
  tokenizer = templated(GEMMA)
  text, _ = chat_template_lib.render(
    turns("q", "a", system="Be brief."), tokenizer
  )
  assert text.startswith("<|im_start|>user\nBe brief.\n\nq<|im_end|>")
  late = [user("q"), records.Turn("system", "Be brief."), assistant("a")]
  text, _ = chat_template_lib.render(late, tokenizer)
  assert text.startswith("<|im_start|>user\nq\n\nBe brief.<|im_end|>")


def test_system_turn_that_a_template_drops_is_a_reject(templated):
  # The word stands in the template's own text, and in the question.
  template = CHATML.replace(
    "{% for m in messages %}",
    "You. {% for m in messages %}{% if m.role != 'system' or loop.first %}",
  ).replace("<|im_end|>\n{% endfor %}", "<|im_end|>\n{% endif %}{% endfor %}")
  late = [user("You"), records.Turn("system", "You"), assistant("a")]
  with pytest.raises(records.Reject, match="drops a turn") as error:
    chat_template_lib.render(late, templated(template))
  assert error.value.detail == "system turn 1"


def test_blank_system_turn_is_as_transformers_renders_it(qwen2):
  conversation = [records.Turn("system", ""), user("q"), assistant("a")]
  text, _ = chat_template_lib.render(conversation, qwen2)
  messages = [{"role": t.role, "content": t.text} for t in conversation]
  assert text == qwen2.apply_chat_template(messages, tokenize=False)
  assert "helpful" not in text
  assert "helpful" in chat_template_lib.render(conversation[1:], qwen2)[0]


def test_greeting_before_any_question_is_context(templated):
  conversation = [assistant("Hello"), user("q"), assistant("a")]
  assert parts(conversation, templated(CHATML)) == ["a<|im_end|>"]
  assert parts(conversation, Plain()) == ["a</s>"]


def test_tool_s_answer_that_is_shown_as_json(templated):
  # Llama 3.1.
  template = TOOLS.replace("m.content + '</", "(m.content | tojson) + '</")
  conversation = [
    user("q"),
    assistant("", calls=CALLS),
    records.Turn("tool", 'two "lines"\nof text'),
    assistant("a"),
  ]
  tokenizer = templated(template.replace("ARGUMENTS", "(f.arguments|tojson)"))
  assert parts(conversation, tokenizer)[1:] == ["a<|im_end|>"]


def test_template_that_writes_too_much_is_a_reject(templated):
  loop = "{% if messages[0].content == 'x' %}{% for i in range(99999) %}x"
  tokenizer = templated(loop + "{% endfor %}{% endif %}" + CHATML)
  assert parts(turns("q", "a"), tokenizer) == ["a<|im_end|>"]
  with pytest.raises(records.Reject, match="writes too much"):
    chat_template_lib.render(turns("x", "a"), tokenizer)


@pytest.mark.parametrize(
  "odd",
  ["no JSON", "[1]", '[{"function": "f"}]', '[{"name": 1}]', "[[]]", "{}"],
)
def test_tools_and_calls_that_are_none_stand_in_the_text(templated, odd):
  tokenizer = templated(TOOLS.replace("ARGUMENTS", "(f.arguments | tojson)"))
  conversation = [
    records.Turn("tools", odd),
    user("q"),
    assistant("", calls=odd),
    records.Turn("tool", "3"),
    assistant("a"),
  ]
  text, spans = chat_template_lib.render(conversation, tokenizer)
  assert text.startswith(f"<|im_start|>system\n{odd}<|im_end|>\n")
  assert text[slice(*spans[0])] == odd + "<|im_end|>"


def test_results_reach_a_template_with_the_id_and_the_name_of_their_call(
  templated,
):
  # Mistral's shows ids, others show names; both refuse a result without.
  shown = TOOLS.replace(
    "m.content + '</",
    "(m.tool_call_id + m.name + ':' + m.content) + '</",
  ).replace("ARGUMENTS", "(f.arguments | tojson)")
  calls = (
    '[{"id": "call00001", "type": "function", "function": {"name": "add", '
    '"arguments": {"x": 1}}}, {"id": "call00002", "type": "function", '
    '"function": {"name": "sub", "arguments": {}}}]'
  )
  conversation = [
    user("q"),
    assistant("", calls=calls),
    records.Turn("tool", "two", call_id="call00002"),
    records.Turn("tool", "one", call_id="call00001", name="plus"),
    assistant("a"),
  ]
  text, spans = chat_template_lib.render(conversation, templated(shown))
  first = text.index("<tool_response>call00002sub:two</tool_response>")
  assert first < text.index("<tool_response>call00001plus:one</tool_response>")
  assert len(spans) == 2
  strict = shown.replace(
    "{% for m in messages %}",
    "{% for m in messages %}{% if m.role == 'tool' and not m.tool_call_id %}"
    "{{ raise_exception('no id') }}{% endif %}",
  )
  assert chat_template_lib.render(conversation, templated(strict))[0] == text
  conversation[2] = conversation[2]._replace(call_id="")
  # Without an id it answers the call that is open.
  assert (
    "call00001add:two"
    in chat_template_lib.render(conversation, templated(strict))[0]
  )


@pytest.mark.parametrize("template", [QWEN3_THINKS, NO_THOUGHT])
@pytest.mark.parametrize(
  "text",
  [
    "<think>\nI see.\n</think>\n\nUse `</think>` to close it.",
    "<think>\nIt ends with </think> here.\n</think>\n\na",
    "Write </think> on a line. Then",
    "Close it with </think>",
    "Close it with </think>\nand go on.",
    "Hello. <think>\nI see.\n</think>\n\na",
  ],
)
def test_a_template_that_drops_words_for_a_thought_is_a_reject(
  templated, template, text
):
  tokenizer = templated(template)
  for said in (turns("q", text), turns("q", text, "r", "b")):
    with pytest.raises(records.Reject, match="rewrites or drops an answer"):
      chat_template_lib.render(said, tokenizer)
  assert parts(turns("q", text), templated(CHATML)) == [text + "<|im_end|>"]


@pytest.mark.parametrize(
  "text", [THOUGHT, "one\n</think>\n\na1", assistant("a1", thought="one")]
)
def test_a_template_that_drops_the_last_thought_is_a_reject(templated, text):

  last = assistant(text) if isinstance(text, str) else text
  with pytest.raises(records.Reject) as error:
    chat_template_lib.render([user("q"), last], templated(NO_THOUGHT))
  assert error.value.reason == "chat template drops a thought"
  shown = parts([user("q"), last], templated(QWEN3_THINKS))
  assert shown == [THOUGHT + "<|im_end|>"]
  # An earlier answer is then no response, and is counted as left out.
  said = [user("q"), last, user("r"), assistant("a2")]
  assert parts(said, templated(NO_THOUGHT)) == ["a2<|im_end|>"]

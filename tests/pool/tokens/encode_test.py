"""Token masks against bytes, decoding and transformers' own mask."""

import gzip
import json
import random

import numpy as np
import pytest
from tokenizers import Regex, normalizers, pre_tokenizers, processors

from ila_jax import errors
from ila_jax.pool import records
from ila_jax.pool.shapes import fields, turns
from ila_jax.pool.tokens import chat as chat_lib
from ila_jax.pool.tokens import chat_template, encode, sandbox
from ila_jax.pool.tokens import messages as messages_lib
from ila_jax.pool.tokens import tokenizer as tokenizer_lib

PREFIX = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
BODY = "{{ m.content }}<|im_end|>"
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CHATML = PREFIX + BODY + "\n{% endfor %}" + ASK
GENERATION = (
  PREFIX + "{% if m.role == 'assistant' %}{% generation %}" + BODY
  # A block takes the newline after it, and the text needs one here.
  + "{% endgeneration %}{% else %}" + BODY + "{% endif %}{{ '\n' }}{% endfor %}"
  + ASK
)  # fmt: skip
ALPHABET = "ab <|>\n\t é你好ß\u0301😀👩\u200d🔬\U0001f1e9\u00a0؀ह\u0928\0"


def chat(*texts: str, system: str = "") -> list[records.Turn]:
  """User and assistant in alternation."""
  roles = ("user", "assistant")
  head = [records.Turn("system", system)] if system else []
  return head + [
    records.Turn(roles[i % 2], text) for i, text in enumerate(texts)
  ]


def random_text(rng: random.Random) -> str:
  return "".join(rng.choices(ALPHABET, k=rng.randint(1, 20)))


@pytest.fixture(scope="session")
def load(shared):
  return lambda name: tokenizer_lib.load_tokenizer(shared / "models" / name)


@pytest.fixture(scope="module")
def qwen2(load):
  return load("qwen2")


@pytest.fixture(scope="module")
def gpt2(load):
  return load("gpt2")


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
  """A tokenizer of our own training: needs no shared folder."""
  folder = tmp_path_factory.mktemp("bpe")
  texts = ["### Response:\nthe response of the model\n", "你好 the model"] * 5
  tokenizer_lib.train_bpe(texts, vocab_size=280, folder=folder)
  return tokenizer_lib.load_tokenizer(folder)


def responses(encoded: encode.Encoded, tokenizer) -> str:
  return tokenizer.decode(encoded.ids[encoded.is_response])


def spelled(tokenizer, ids) -> list[bytes]:
  """The bytes of each token of a byte-level tokenizer, GPT-2's alphabet."""
  # The published table: printable bytes stand for themselves, the others for
  # 256, 257, ... in their order.
  keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
  others = [byte for byte in range(256) if byte not in keep]
  table = {chr(byte): byte for byte in keep}
  table |= {chr(256 + i): byte for i, byte in enumerate(others)}
  special = set(tokenizer.all_special_tokens)
  return [
    token.encode()
    if token in special
    else bytes(table[character] for character in token)
    for token in tokenizer.convert_ids_to_tokens(ids)
  ]


def mask_by_bytes(conversation, tokenizer, ids) -> np.ndarray:
  """A token is response if one of its bytes is of a response's character."""
  text, spans = chat_template.render(conversation, tokenizer)
  parts = spelled(tokenizer, ids)
  assert b"".join(parts) == text.encode()
  is_response = []
  for begin, end in spans:
    is_response.append((len(text[:begin].encode()), len(text[:end].encode())))
  ends = np.cumsum([len(part) for part in parts])
  begins = ends - [len(part) for part in parts]
  mask = np.zeros(len(parts), bool)
  for begin, end in is_response:
    mask |= (begins < end) & (ends > begin)
  return mask


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("template", [None, "bare", "chatml"])
@pytest.mark.parametrize("name", ["gpt2", "bpe"])
def test_mask_by_bytes(request, monkeypatch, name, template, seed):
  tokenizer = request.getfixturevalue(name)
  if template == "chatml":
    monkeypatch.setattr(tokenizer, "chat_template", CHATML)
  if template == "bare":
    # No text between the turns: tokens straddle where an answer begins.
    monkeypatch.setattr(
      tokenizer,
      "chat_template",
      "{% for m in messages %}{{ m.content }}{% endfor %}",
    )
  rng = random.Random(seed)
  conversations = [
    chat(*(random_text(rng) for _ in range(2 * rng.randint(1, 3))))
    for _ in range(50)
  ]
  encoded = encode.encode_many(conversations, tokenizer, max_tokens=9999)
  assert sum(isinstance(e, encode.Encoded) for e in encoded) > 40
  for conversation, example in zip(conversations, encoded, strict=True):
    if isinstance(example, encode.Encoded):
      expected = mask_by_bytes(conversation, tokenizer, example.ids)
      expected[0] = False
      np.testing.assert_array_equal(example.is_response, expected)


@pytest.mark.parametrize(
  "answers",
  [
    ("Paris.",),
    ("Paris", "Berlin"),
    (" Paris",),
    ("Paris\n\n",),
    ("你好，世界",),
    ("🇩🇪 👩‍🔬 ok", "é"),
    ("What is it?", "What is it?"),
    ("assistant", "user"),
    ("x = [1]\n\n\n  y", "\t"),
  ],
)
@pytest.mark.parametrize("system", ["", "What is it? Paris. 你好"])
def test_qwen2_responses_decode_to_what_was_said(qwen2, answers, system):
  texts = [text for answer in answers for text in ("What is it?", answer)]
  conversation = chat(*texts, system=system)
  encoded = encode.encode(conversation, qwen2, max_tokens=4096)
  expected = "".join(answer + "<|im_end|>" for answer in answers)
  assert responses(encoded, qwen2) == expected
  messages = [{"role": t.role, "content": t.text} for t in conversation]
  official = qwen2.apply_chat_template(messages)["input_ids"]
  assert encoded.ids.tolist() == official
  # The template adds a system text of its own, which is no response.
  assert not encoded.is_response[: encoded.ids.tolist().index(198)].any()


def test_token_that_straddles_the_begin_of_an_answer_is_response(qwen2):
  encoded = encode.encode(chat("q", "\n\nParis"), qwen2, max_tokens=99)
  # The template's newline and the answer's two are one token.
  assert responses(encoded, qwen2) == "\n\n\nParis<|im_end|>"


@pytest.mark.parametrize(
  "file", ["glaive_toolcall_300", "alpaca_zh_20k", "code_alpaca_2k"]
)
def test_mask_is_transformers_own(shared, qwen2, monkeypatch, file):
  with gzip.open(shared / f"data/{file}.jsonl.gz", "rt") as lines:
    raw = [json.loads(line) for _, line in zip(range(100), lines, strict=False)]
  conversations = [turns.to_turns(r, fields.detect(r)) for r in raw]
  monkeypatch.setattr(qwen2, "chat_template", GENERATION)
  ours = encode.encode_many(conversations, qwen2, max_tokens=10**6)
  for conversation, encoded in zip(conversations, ours, strict=True):
    _, style = chat_lib.choose(qwen2, with_tools=False)
    shown = messages_lib.adapt(conversation, style.able)
    messages = [{"role": t.role, "content": t.text} for _, t in shown]
    theirs = qwen2.apply_chat_template(
      messages,
      return_dict=True,
      return_assistant_tokens_mask=True,
      tokenizer_kwargs={"verbose": False},
    )
    assert encoded.ids.tolist() == theirs["input_ids"]
    assert encoded.is_response.tolist() == [
      bool(m) for m in theirs["assistant_masks"]
    ]


@pytest.mark.parametrize("lead", ["", "\n", "\n\n", " \n", "\n  "])
def test_mask_after_an_empty_thought_is_transformers_own(
  qwen2, monkeypatch, lead
):
  # Qwen3's kind: an empty thought and a blank line before the last answer,
  # whose own newlines are stripped.
  last = "<think>\n\n</think>\n\n{% generation %}{{ m.content.lstrip('\n') }}"
  template = (
    PREFIX
    + "{% if loop.last and m.role == 'assistant' %}"
    + last + "<|im_end|>{% endgeneration %}"
    + "{% elif m.role == 'assistant' %}{% generation %}" + BODY
    + "{% endgeneration %}{% else %}" + BODY
    + "{% endif %}{{ '\n' }}{% endfor %}" + ASK
  )  # fmt: skip
  monkeypatch.setattr(qwen2, "chat_template", template)
  for answer in ("Four.", "Four.\n", "- one\n- two"):
    conversation = chat("q", lead + answer, "again", lead + answer)
    encoded = encode.encode(conversation, qwen2, max_tokens=999)
    messages = [{"role": t.role, "content": t.text} for t in conversation]
    theirs = qwen2.apply_chat_template(
      messages, return_dict=True, return_assistant_tokens_mask=True
    )
    assert encoded.ids.tolist() == theirs["input_ids"]
    assert encoded.is_response.tolist() == list(
      map(bool, theirs["assistant_masks"])
    )


def test_answers_left_out_are_counted(qwen2, monkeypatch):
  strips = CHATML.replace(
    "m.content", "(m.content if loop.last else m.content.split('</think>')[-1])"
  )
  monkeypatch.setattr(qwen2, "chat_template", strips)
  thinks = "<think>\nhm\n</think>\n\nFour."
  conversations = [
    chat("q", thinks, "q", thinks),
    chat("q", "Four.", "q", thinks),
    [turn._replace(is_learnt=False) for turn in chat("q", thinks)]
    + chat("q", thinks),
  ]
  encoded = encode.encode_many(conversations, qwen2, max_tokens=999)
  assert [e.n_left_out for e in encoded] == [1, 0, 0]


def test_characters_of_several_tokens_are_response_whole(gpt2):
  for answer in ("😀", "你", "👩‍🔬"):
    encoded = encode.encode(chat(answer, answer), gpt2, max_tokens=99)
    alone = gpt2(answer)["input_ids"]
    assert len(alone) > 1
    expected = [*alone, gpt2.eos_token_id]
    assert encoded.ids[encoded.is_response].tolist() == expected


def test_bos_once_at_the_start_and_eos_after_each_answer(gpt2, load):
  stories = load("stories260K")
  for tokenizer in (gpt2, stories):
    encoded = encode.encode(chat("q", "a", "q", "b"), tokenizer, max_tokens=999)
    text, _ = chat_template.render(chat("q", "a", "q", "b"), tokenizer)
    assert encoded.ids[0] == tokenizer.bos_token_id
    assert encoded.ids[1] != tokenizer.bos_token_id
    eos = encoded.ids == tokenizer.eos_token_id
    assert eos[1:].sum() == 2 and encoded.is_response[1:][eos[1:]].all()
    assert text.startswith(tokenizer.bos_token)
  # As the checkpoint's own tokenization begins: <s>, then the text.
  plain = "Once upon a time"
  official = stories(plain)["input_ids"]
  backend = encode._backend(stories)
  assert backend.encode("<s>" + plain).ids == official


def test_tokenizer_that_changes_the_text(load):
  bert = load("bert-base-uncased")
  encoded = encode.encode(chat("Q", "  ÉCOLE  Déjà  "), bert, max_tokens=99)
  assert responses(encoded, bert) == "ecole deja"


def test_tokenizer_that_trims_its_offsets(bpe, tmp_path):
  bpe.save_pretrained(tmp_path)
  trimmed = tokenizer_lib.load_tokenizer(tmp_path)
  trimmed.backend_tokenizer.post_processor = processors.ByteLevel(
    trim_offsets=True
  )
  text = "a  \n b"
  assert (
    trimmed(text, return_offsets_mapping=True)["offset_mapping"]
    != bpe(text, return_offsets_mapping=True)["offset_mapping"]
  )
  for answer in ("\n\n  a", "a  \n", " \n "):
    exact = encode.encode(chat("q", answer), bpe, max_tokens=999)
    ours = encode.encode(chat("q", answer), trimmed, max_tokens=999)
    np.testing.assert_array_equal(ours.is_response, exact.is_response)
    assert responses(ours, trimmed) == answer + "<|end|>"


def test_padding_of_the_tokenizer_file_is_not_used(load):
  gpt2 = load("gpt2")
  # The file of this tokenizer asks for padding.
  assert gpt2.backend_tokenizer.padding is not None
  before = gpt2.backend_tokenizer.to_str()
  short, long = encode.encode_many(
    [chat("q", "a"), chat("q", "a " * 99)], gpt2, max_tokens=999
  )
  assert len(short.ids) < 50 < len(long.ids)
  assert gpt2.backend_tokenizer.to_str() == before


def test_first_token_is_never_response(bpe, monkeypatch):
  bare = "{% for m in messages %}{{ m.content }}{% endfor %}"
  monkeypatch.setattr(bpe, "chat_template", bare)
  encoded = encode.encode(chat("t", "he model"), bpe, max_tokens=99)
  # The prompt's one character is part of a token that the answer begins.
  assert bpe.decode(encoded.ids[:1]) != "t"
  assert not encoded.is_response[0] and encoded.is_response[1:].all()


LONG = [chat("q " * 40, "answer", "more " * 5, "last")]


def test_too_long_is_a_reject_with_a_constant_reason(bpe):
  whole = encode.encode(LONG[0], bpe, max_tokens=9999)
  size = len(whole.ids)
  same = encode.encode(LONG[0], bpe, max_tokens=size)
  assert same.ids.tolist() == whole.ids.tolist() and not same.truncated
  with pytest.raises(records.Reject) as error:
    encode.encode(LONG[0], bpe, max_tokens=size - 1)
  assert error.value.reason == "longer than max_tokens"
  assert error.value.detail == f"{size} tokens, {size - 1} allowed"


def test_truncation_cuts_the_oldest_of_the_prompt(bpe):
  whole = encode.encode(LONG[0], bpe, max_tokens=9999)
  first = int(np.argmax(whole.is_response))
  size = len(whole.ids)
  cut = lambda limit: encode.encode(  # noqa: E731
    LONG[0], bpe, max_tokens=limit, overflow="truncate_prompt"
  )
  for limit in (size - 1, size - first + 2, size - first + 1):
    example = cut(limit)
    assert example.truncated and len(example.ids) == limit
    assert example.ids[0] == bpe.bos_token_id
    assert example.ids[1:].tolist() == whole.ids[size - limit + 1 :].tolist()
    assert example.is_response.sum() == whole.is_response.sum()
    assert responses(example, bpe) == "answer<|end|>last<|end|>"
  with pytest.raises(records.Reject, match="answers longer than max_tokens"):
    cut(size - first)


def test_truncation_without_bos(qwen2):
  conversation = chat("one two three four five", "six")
  whole = encode.encode(conversation, qwen2, max_tokens=999)
  first = int(np.argmax(whole.is_response))
  limit = len(whole.ids) - first + 1
  cut = encode.encode(
    conversation, qwen2, max_tokens=limit, overflow="truncate_prompt"
  )
  assert cut.ids.tolist() == whole.ids[first - 1 :].tolist()
  assert cut.is_response.tolist() == [False] + [True] * (limit - 2) + [False]


def test_many_are_as_one_by_one_and_in_place(bpe, monkeypatch):
  monkeypatch.setattr(encode, "_BATCH_EXAMPLES", 4)
  rng = random.Random(0)
  conversations = [chat(random_text(rng), random_text(rng)) for _ in range(11)]
  conversations[3] = chat("q", "\ud83d")
  conversations[7] = chat("q " * 500, "a")
  many = encode.encode_many(conversations, bpe, max_tokens=400)
  assert len(many) == 11
  for i, encoded in enumerate(many):
    if i in (3, 7):
      assert isinstance(encoded, records.Reject)
      continue
    one = encode.encode(conversations[i], bpe, max_tokens=400)
    assert encoded.ids.dtype == np.int32 and encoded.is_response.dtype == bool
    np.testing.assert_array_equal(encoded.ids, one.ids)
    np.testing.assert_array_equal(encoded.is_response, one.is_response)
  assert many[3].reason == "text is not Unicode"
  assert encode.encode_many([], bpe, max_tokens=9) == []


def test_template_s_rejects_come_through(qwen2, monkeypatch):
  picky = "{% if messages[0].content == 'bad' %}{{ raise_exception('no') }}"
  monkeypatch.setattr(qwen2, "chat_template", picky + "{% endif %}" + CHATML)
  good, bad = encode.encode_many(
    [chat("good", "a"), chat("bad", "a")], qwen2, max_tokens=99
  )
  assert responses(good, qwen2) == "a<|im_end|>"
  assert bad.reason == "chat template refuses"
  assert bad.detail == "user turn 1: no"


def test_unknown_overflow(bpe):
  with pytest.raises(errors.InputError, match=r"config\.tokens\.overflow is"):
    encode.encode(chat("q", "a"), bpe, max_tokens=9, overflow="wrap")


def test_train_bpe_round_trips_any_text(bpe):
  rng = random.Random(1)
  for _ in range(200):
    text = "".join(
      chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]))
      for _ in range(rng.randint(0, 30))
    )
    assert bpe.decode(bpe(text)["input_ids"]) == text
  assert bpe.chat_template is None
  assert (bpe.bos_token, bpe.eos_token) == ("<|bos|>", "<|end|>")
  assert bpe.pad_token_id not in (bpe.bos_token_id, bpe.eos_token_id)


def test_train_bpe_learns_merges_up_to_its_size(bpe):
  assert len(bpe) == 280
  assert set(pre_tokenizers.ByteLevel.alphabet()) < set(bpe.get_vocab())
  assert len(bpe("### Response:")["input_ids"]) < 6


def test_train_bpe_is_deterministic_in_any_order(tmp_path):
  rng = random.Random(2)
  texts = [random_text(rng) for _ in range(300)]
  files = []
  for name in ("one", "two", "shuffled"):
    if name == "shuffled":
      rng.shuffle(texts)
    tokenizer_lib.train_bpe(iter(texts), vocab_size=400, folder=tmp_path / name)
    files.append((tmp_path / name / "tokenizer.json").read_bytes())
  assert files[0] == files[1] == files[2]


def test_train_bpe_needs_room_for_the_bytes(tmp_path):
  with pytest.raises(errors.InputError, match="258 entries; allowed: at least"):
    tokenizer_lib.train_bpe(["text"], vocab_size=258, folder=tmp_path)


def test_folder_without_a_tokenizer(tmp_path):
  with pytest.raises(errors.InputError, match="no tokenizer can be loaded"):
    tokenizer_lib.load_tokenizer(tmp_path)
  (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
  with pytest.raises(errors.InputError, match="no tokenizer's vocabulary"):
    tokenizer_lib.load_tokenizer(tmp_path)
  (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "mod')
  with pytest.raises(errors.InputError, match="no tokenizer can be loaded"):
    tokenizer_lib.load_tokenizer(tmp_path)


@pytest.mark.parametrize(
  ("template", "message"),
  [
    ("{% for m in messages %}{{ m['content'] }", "not render a question and"),
    ("{{ 1 }}", "does not render a question and its answer"),
    ("{{ raise_exception('never') }}", "answer \\(never\\); give a tokenizer"),
    (
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}"
      "{% endfor %}",
      "takes more than 5 seconds .* Give a tokenizer with another chat temp",
    ),
    (
      "{% set ns = namespace(x='a') %}{% for m in messages %}"
      "{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
      # On a busy machine its seconds are over first.
      "takes more than (2 GB of memory|5 seconds)|writes far more",
    ),
    ("{{ 'a' * 10 ** 11 }}", "takes more than 2 GB of memory"),
    (
      "{% for i in range(9999) %}{{ messages }}{% endfor %}",
      "writes far more than it is given",
    ),
    (
      [
        {"name": "rag", "template": CHATML},
        {"name": "tool_use", "template": ""},
      ],
      "names rag, tool_use, and none of the name default",
    ),
  ],
)
def test_hostile_chat_templates_are_refused(
  bpe, tmp_path, monkeypatch, template, message
):
  limit = f"({sandbox._SECONDS}, {sandbox._SECONDS} + 1)"
  assert limit in sandbox._PROGRAM
  sooner = sandbox._PROGRAM.replace(limit, "(1, 2)")
  monkeypatch.setattr(sandbox, "_PROGRAM", sooner)
  bpe.save_pretrained(tmp_path)
  file = tmp_path / "tokenizer_config.json"
  values = json.loads(file.read_text()) | {"chat_template": template}
  file.write_text(json.dumps(values))
  with pytest.raises(errors.InputError, match=message) as error:
    tokenizer_lib.load_tokenizer(tmp_path)
  assert str(tmp_path) in str(error.value)


def test_a_template_for_tools_beside_the_default(bpe, tmp_path):
  tool_use = "{{ tools[0].function.name }}" + CHATML
  for template in (tool_use, "{{ 1 }}"):
    bpe.chat_template = {"default": CHATML, "tool_use": template}
    bpe.save_pretrained(tmp_path)
    bpe.chat_template = None
    tokenizer = tokenizer_lib.load_tokenizer(tmp_path)
    conversation = [records.Turn("tools", '[{"name": "add"}]'), *chat("q", "a")]
    text, _ = chat_template.render(conversation, tokenizer)
    if template == tool_use:
      assert text.startswith("add<|im_start|>user\nq")
    else:
      # It shows nothing: the tools are text in the default.
      assert text.startswith('<|im_start|>system\n[{"name": "add"}]<|im_end|>')
    assert chat_template.render(chat("q", "a"), tokenizer)[0].startswith(
      "<|im_st"
    )


@pytest.mark.parametrize(
  "normalizer",
  [
    normalizers.Sequence([normalizers.Replace("a", "aa")] * 40),
    normalizers.Replace(Regex("."), "x" * 1000),
    normalizers.Prepend("x" * 1000),
  ],
)
def test_a_normalizer_that_grows_text_is_refused(bpe, tmp_path, normalizer):
  bpe.save_pretrained(tmp_path)
  tokenizer = tokenizer_lib.load_tokenizer(tmp_path)
  tokenizer.backend_tokenizer.normalizer = normalizer
  tokenizer.save_pretrained(tmp_path)
  with pytest.raises(
    errors.InputError, match="the normalizer in the tokenizer"
  ):
    tokenizer_lib.load_tokenizer(tmp_path)

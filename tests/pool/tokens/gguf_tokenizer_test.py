"""Tokenizers in GGUF files, against those that they were made of."""

import json
import subprocess
import sys

import gguf
import pytest

from ila_jax import errors
from ila_jax.pool.tokens import tokenizer as tokenizer_lib

TEXTS = (
  "Hello wörld 1234567, it's 3.14159!\n\n  def f(x):\n\treturn  x ** 2\r\n",
  "你好，世界  ё é e\u0301 ñ\u00a0…  <|im_start|>user\n<|im_end|>  DON'T we'Ll",
  "",
  " ",
)


def _write(file, fast, *, model, pre=None, eos, bos=None, **more):
  """A GGUF file of nothing but the tokenizer of a tokenizer.json."""
  said = json.loads(fast)
  vocab = dict(said["model"]["vocab"])
  vocab |= {one["content"]: one["id"] for one in said["added_tokens"]}
  special = {one["content"] for one in said["added_tokens"] if one["special"]}
  tokens = sorted(vocab, key=vocab.get)
  assert [vocab[token] for token in tokens] == list(range(len(tokens)))
  writer = gguf.GGUFWriter(file, "llama")
  writer.add_tokenizer_model(model)
  if pre:
    writer.add_tokenizer_pre(pre)
  writer.add_token_list(tokens)
  writer.add_token_types([3 if token in special else 1 for token in tokens])
  merges = said["model"]["merges"]
  joined = [m if isinstance(m, str) else " ".join(m) for m in merges]
  writer.add_token_merges(joined)
  writer.add_eos_token_id(vocab[eos])
  if bos:
    writer.add_bos_token_id(vocab[bos])
  for name, value in more.items():
    getattr(writer, name)(value)
  _close(writer)


def _close(writer):
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.write_tensors_to_file()
  writer.close()


@pytest.mark.parametrize(
  ("name", "pre", "eos"),
  [
    ("gpt2", "gpt-2", "<|endoftext|>"),
    ("qwen2", "qwen2", "<|im_end|>"),
  ],
)
def test_byte_level_tokens_are_those_of_the_models_own(
  name, pre, eos, shared, tmp_path
):
  transformers = pytest.importorskip("transformers")
  want = transformers.AutoTokenizer.from_pretrained(shared / "models" / name)
  fast = want.backend_tokenizer.to_str()
  file = tmp_path / "m.gguf"
  _write(
    file,
    fast,
    model="gpt2",
    pre=pre,
    eos=eos,
    add_chat_template="{% for m in messages %}{{ m.content }}\n{% endfor %}",
  )
  got = tokenizer_lib.load_tokenizer(file)
  assert got.eos_token == eos and got.bos_token is None
  assert "m.content" in got.chat_template
  for text in TEXTS:
    assert got(text).input_ids == want(text).input_ids, text
    assert got.decode(got(text).input_ids) == want.decode(want(text).input_ids)


def test_sentence_piece_tokens_are_those_of_the_models_own(shared, tmp_path):
  transformers = pytest.importorskip("transformers", minversion="5.24")
  folder = shared / "models" / "stories260K"
  want = transformers.AutoTokenizer.from_pretrained(folder)
  said = json.loads(want.backend_tokenizer.to_str())["model"]
  ranks = {"".join(pair): -i for i, pair in enumerate(said["merges"])}
  tokens = sorted(said["vocab"], key=said["vocab"].get)
  kinds = {"<unk>": 2, "<s>": 3, "</s>": 3}
  kinds |= {f"<0x{byte:02X}>": 6 for byte in range(256)}
  file = tmp_path / "m.gguf"
  writer = gguf.GGUFWriter(file, "llama")
  writer.add_tokenizer_model("llama")
  writer.add_token_list(tokens)
  writer.add_token_scores([float(ranks.get(t, -1e6)) for t in tokens])
  writer.add_token_types([kinds.get(token, 1) for token in tokens])
  for name in ("bos", "eos", "unk"):
    number = getattr(want, f"{name}_token_id")
    getattr(writer, f"add_{name}_token_id")(number)
  _close(writer)
  got = tokenizer_lib.load_tokenizer(file)
  assert (got.bos_token, got.eos_token) == ("<s>", "</s>")
  for text in ("Once upon a time, Lily's dog 123 ran.\nIt é 好", "a  b"):
    assert got(text).input_ids == want(text).input_ids, text
    assert got.decode(got(text).input_ids) == want.decode(want(text).input_ids)


def test_smollm2_splits_digits_and_keeps_its_marks_whole(smollm2):
  got = tokenizer_lib.load_tokenizer(smollm2)
  words = "in 1987<|im_end|>"
  assert got.tokenize(words) == ["in", "Ġ", *"1987", "<|im_end|>"]
  assert (got.bos_token_id, got.eos_token_id) == (1, 2)
  assert len(got) == 49152
  said = got.apply_chat_template(
    [{"role": "user", "content": "hi"}], tokenize=False
  )
  assert "<|im_start|>user\nhi<|im_end|>\n" in said
  for text in TEXTS:
    assert got.decode(got(text).input_ids) == text
  assert got.is_fast


def test_torch_is_not_imported(smollm2):
  code = (
    "import sys; sys.modules['torch'] = None\n"
    "from ila_jax.pool.tokens import tokenizer\n"
    "print(len(tokenizer.load_tokenizer(sys.argv[1])))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code, smollm2], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.strip() == "49152"


_TINY = json.dumps(
  {
    "model": {
      "vocab": {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4, "1": 5, "12": 6},
      "merges": ["a b", "1 2"],
    },
    "added_tokens": [
      {"content": "<s>", "id": 0, "special": True},
      {"content": "</s>", "id": 1, "special": True},
    ],
  }
)


@pytest.mark.parametrize(
  ("pre", "more", "begins"),
  [
    ("gpt-2", {}, False),
    ("gpt-2", {"add_add_bos_token": True}, True),
    ("llama-bpe", {}, True),
    ("llama-bpe", {"add_add_bos_token": False}, False),
  ],
)
def test_a_text_begins_as_the_file_says(pre, more, begins, tmp_path):
  tiny = json.loads(_TINY)
  tiny["model"]["merges"].pop()
  file = tmp_path / "m.gguf"
  _write(
    file,
    json.dumps(tiny),
    model="gpt2",
    pre=pre,
    bos="<s>",
    eos="</s>",
    **more,
  )
  got = tokenizer_lib.load_tokenizer(file)
  # Llama 3 takes a word of its vocabulary whole, whatever the merges.
  assert got("ab</s>").input_ids == [0] * begins + [4, 1]
  if pre == "llama-bpe":
    assert got("12", add_special_tokens=False).input_ids == [6]


@pytest.mark.parametrize(
  ("model", "pre", "said"),
  [
    ("gpt2", "deepseek-v3", "tokenizer.ggml.pre is 'deepseek-v3'; allowed:"),
    ("bert", None, "tokenizer.ggml.model is 'bert'; allowed: gpt2, llama"),
  ],
)
def test_unknown_tokenizers_are_refused_by_key(model, pre, said, tmp_path):
  file = tmp_path / "m.gguf"
  tiny = json.loads(_TINY)
  tiny["model"]["merges"].pop()
  _write(file, json.dumps(tiny), model=model, pre=pre, eos="</s>")
  with pytest.raises(errors.InputError) as error:
    tokenizer_lib.load_tokenizer(file)
  for part in (str(file), said, "give a folder with tokenizer.json"):
    assert part in str(error.value)

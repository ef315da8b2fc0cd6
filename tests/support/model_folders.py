"""Small model folders with tokenizers, as a user would have them."""

import json
import pathlib
from collections.abc import Iterable, Sequence

from flax import nnx

from ila_jax.models import architecture, decoder
from ila_jax.models.folders import weights
from ila_jax.pool.tokens import tokenizer as tokenizer_lib
from tests.support import torch_models

# Long prompts are cut at so many tokens.
LONGEST = 24
# Short, so that the tests are.
_TEMPLATE = (
  "{% for m in messages %}<|bos|>{{ m.role[:1] }}: {{ m.content }}<|end|>"
  "{% endfor %}{% if add_generation_prompt %}<|bos|>a: {% endif %}"
)


def llama(
  folder: pathlib.Path, texts: Iterable[str]
) -> tuple[architecture.DecoderConfig, decoder.Decoder]:
  """Writes a random Llama with a tokenizer of these texts."""
  tokenizer_lib.train_bpe(texts, vocab_size=320, folder=folder)
  tokenizer = tokenizer_lib.load_tokenizer(folder)
  tokenizer.chat_template = _TEMPLATE
  tokenizer.save_pretrained(folder)
  config = architecture.DecoderConfig(
    vocab=320,
    layers=1,
    width=32,
    heads=2,
    kv_heads=1,
    head_dim=16,
    mlp_width=48,
    max_positions=256,
    # A tied head would carry a broken embedding to the loss of every token.
    tied=False,
  )
  model = decoder.Decoder(config, rngs=nnx.Rngs(0))
  weights.save_decoder(folder, config, model)
  return config, model


def vocabulary(texts: Sequence[str]) -> list[str]:
  """WordPiece entries: some whole words, and all characters of the texts."""
  characters = sorted(set("".join(texts).lower() + "qury:") - {" ", "\n"})
  words = ["explain", "translate", "case", "river", "name", "query", "the"]
  special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  return [*special, *words, *characters, *(f"##{c}" for c in characters)]


def bert(folder: pathlib.Path, texts: Sequence[str]):
  """Writes a random BERT as sentence-transformers does; returns torch's.

  Its tokenizer keeps capitals, of which it knows none: that text is to be
  lower-cased stands in sentence_bert_config.json alone, as with BGE.
  """
  entries = vocabulary(texts)
  model = torch_models.make_encoder(
    "bert",
    vocab_size=len(entries),
    num_hidden_layers=2,
    hidden_size=24,
    num_attention_heads=2,
    intermediate_size=40,
    max_position_embeddings=64,
  )
  torch_models.save(model, folder)
  write_bert_files(folder, entries)
  return model


def write_bert_files(folder: pathlib.Path, entries: Sequence[str]) -> None:
  """What stands beside the weights of `bert`, but for its config.json."""
  import transformers
  from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
  from tokenizers.processors import TemplateProcessing

  ids = {entry: i for i, entry in enumerate(entries)}
  tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
  tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  tokenizer.post_processor = TemplateProcessing(
    single="[CLS] $A [SEP]",
    special_tokens=[(name, ids[name]) for name in ("[CLS]", "[SEP]")],
  )
  names = {
    f"{kind}_token": f"[{kind.upper()}]"
    for kind in ("pad", "unk", "cls", "sep", "mask")
  }
  transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, **names
  ).save_pretrained(folder)
  notes = {
    "sentence_bert_config.json": {
      "max_seq_length": LONGEST,
      "do_lower_case": True,
    },
    "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
  }
  (folder / "1_Pooling").mkdir()
  for name, values in notes.items():
    (folder / name).write_text(json.dumps(values))

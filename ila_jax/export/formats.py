"""The formats: what a row is, which files hold rows, what trains on them."""

import hashlib
import pathlib
import re
import shlex
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ila_jax import errors
from ila_jax.export import (
  card,
  grain_files,
  huggingface,
  llama_factory,
  messages,
  openai,
  rows,
)
from ila_jax.export import example as example_lib
from ila_jax.pool import records

CARD = "README.md"
LEFT_OUT = "left_out.jsonl"
_EXAMPLES = Iterable[example_lib.Example]
_Save = Callable[[pathlib.Path, Iterable[dict[str, Any]], _EXAMPLES], None]


class Format(NamedTuple):
  """One format of `ila export`.

  Attributes:
    about: what it is for, in a line.
    row: makes a row of an example; `records.Reject` where it cannot.
    columns: what a row holds, in sentences.
    train: the command that trains on it; FOLDER stands for the folder, LENGTH
      for the most tokens that the trainer shall read of a record.
    save: writes the rows into a folder.
    pattern: of the files that hold them.
    beside: makes other files: name -> function of the folder's path.
  """

  about: str
  row: Callable[[example_lib.Example], dict[str, Any]]
  columns: str
  train: str
  save: _Save
  pattern: str = rows.LINES
  beside: Mapping[str, Callable[[str], str]] = types.MappingProxyType({})


def _save_lines(
  folder: pathlib.Path, made: Iterable[dict[str, Any]], examples: _EXAMPLES
) -> None:
  del examples
  rows.write_lines(folder / rows.LINES, made)


_PLAIN = (
  "`messages` of role and text alone: tools stand in the system turn, calls "
  "and reasoning in the answer. Beside them id, source, rank, depth, cell and "
  "losses. The same rows are Parquet and ArrayRecord files. Every answer is "
  "learnt; records with an answer that is not to be learnt are left out."
)
_PARQUET = "train-*.parquet"
_WORD = re.compile(r"\S*FOLDER\S*")
_LENGTH = re.compile(r"\bLENGTH\b")
FORMATS = {
  "hf": Format(
    "a data set for `datasets.load_dataset`, with all that is known",
    huggingface.row,
    "`messages` (arguments of calls as JSON text), `tools` as JSON text, id, "
    "source, rank, depth, cell, losses in nats a token (`nll_base`, "
    "`nll_sft`), tokens of the response, `scores` of others by name, if the "
    "run has read some, and `record`, the record as it was read. Where "
    "`messages` have `train`, answers of `train: false` are not to be learnt.",
    "# In Python\n"
    "import datasets\n"
    'rows = datasets.load_dataset({folder!r}, split="train")',
    huggingface.save,
    f"{huggingface.FOLDER}/train-*.parquet",
  ),
  "llama-factory": Format(
    "LLaMA-Factory: dataset_info.json and its file",
    llama_factory.row,
    "`messages` of role and text, calls as JSON in a turn of the role "
    "`function_call`; `tools` as JSON text. Every answer is learnt; records "
    "with an answer that is not to be learnt are left out.",
    "llamafactory-cli train --stage sft --do_train true \\\n"
    "  --model_name_or_path MODEL --template TEMPLATE \\\n"
    f"  --dataset_dir FOLDER --dataset {llama_factory.NAME} \\\n"
    "  --cutoff_len LENGTH --output_dir OUT",
    _save_lines,
    beside={
      llama_factory.INFO_FILE: lambda _: (
        rows.json_text(llama_factory.info(rows.LINES)) + "\n"
      )
    },
  ),
  "trl": Format(
    "TRL's SFTTrainer",
    messages.trl,
    "`messages`, with calls where there are some; `tools` as JSON text; id and "
    "rank. Answers alone are learnt by `assistant_only_loss`; records with an "
    "answer that is not to be learnt are left out.",
    "trl sft --model_name_or_path MODEL --dataset_name FOLDER \\\n"
    "  --assistant_only_loss true --max_length LENGTH --output_dir OUT",
    _save_lines,
  ),
  "axolotl": Format(
    "Axolotl: messages, and the part of a config that names them",
    messages.axolotl,
    "`messages`, with calls where there are some; `tools` as JSON text; id and "
    "rank. Answers say in `train` whether they are learnt; `axolotl.yaml` has "
    "Axolotl look at it.",
    "axolotl train FOLDER/axolotl.yaml \\\n"
    "  --base-model MODEL --output-dir OUT --sequence-len LENGTH \\\n"
    "  --num-epochs 3 --micro-batch-size 1 \\\n"
    "  --gradient-accumulation-steps 8 --learning-rate 1e-5",
    _save_lines,
    beside={
      "axolotl.yaml": lambda folder: messages.axolotl_config(folder, rows.LINES)
    },
  ),
  "openai": Format(
    "fine-tuning by OpenAI",
    openai.row,
    "`messages` and `tools` in the fields that OpenAI documents. Answers of "
    "`weight` 0 are not learnt.",
    "curl https://api.openai.com/v1/files \\\n"
    '  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n'
    f"  -F purpose=fine-tune -F file=@FOLDER/{rows.LINES}\n"
    "curl https://api.openai.com/v1/fine_tuning/jobs \\\n"
    '  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n'
    '  -H "Content-Type: application/json" \\\n'
    '  -d \'{"training_file": "ID OF THE FILE", "model": "MODEL"}\'',
    _save_lines,
  ),
  "maxtext": Format(
    "MaxText, by its Hugging Face pipeline",
    grain_files.row,
    _PLAIN,
    "python -m maxtext.trainers.post_train.sft.train_sft \\\n"
    "  run_name=RUN base_output_directory=OUT model_name=MODEL \\\n"
    "  load_parameters_path=CHECKPOINT tokenizer_path=TOKENIZER \\\n"
    "  dataset_type=hf hf_path=parquet \\\n"
    "  hf_train_files=FOLDER/train-*.parquet train_split=train \\\n"
    "  train_data_columns=\"['messages']\" max_target_length=LENGTH \\\n"
    "  per_device_batch_size=1 steps=STEPS",
    grain_files.save,
    _PARQUET,
  ),
  "levanter": Format(
    "Levanter's chat format, and the part of a config that names it",
    grain_files.row,
    _PLAIN,
    "python -m levanter.main.train_lm --config_path FOLDER/levanter.yaml \\\n"
    "  --data.tokenizer MODEL --initialize_from_hf MODEL \\\n"
    "  --use_hf_model_config true --train_seq_len LENGTH",
    grain_files.save,
    _PARQUET,
    {"levanter.yaml": grain_files.levanter_config},
  ),
  "tunix": Format(
    "Tunix, and any loop that reads ArrayRecord by Grain",
    grain_files.row,
    _PLAIN,
    "# In Python; docs/export.md has the rest, to PeftTrainer.train\n"
    "import grain, json, pathlib\n"
    "files = pathlib.Path({folder!r}).iterdir()\n"
    "files = sorted(str(f) for f in files if f.suffix == '.array_record')\n"
    "source = grain.sources.ArrayRecordDataSource(files)\n"
    "rows = grain.MapDataset.source(source).shuffle(seed=0).map(json.loads)",
    grain_files.save,
    _PARQUET,
  ),
}


def find(name: str) -> Format:
  """The format of a name.

  Raises:
    errors.InputError: there is none.

  >>> find("csv")
  Traceback (most recent call last):
  ila_jax.errors.InputError: --to is 'csv'; allowed: hf, llama-factory, trl, ...
  """
  if name not in FORMATS:
    raise errors.InputError(
      f"--to is {name!r}; allowed: {', '.join(FORMATS)}."
      f"{errors.did_you_mean(name, FORMATS)}"
    )
  return FORMATS[name]


def train(name: str, folder: str, length: int | None = None) -> str:
  """The command that trains on what lies in a folder.

  Args:
    name: of the format.
    folder: the path.
    length: tokens that the trainer shall read of a record at most; None: the
      command says LENGTH instead.

  >>> print(train("trl", "/data/mine", 512))
  trl sft --model_name_or_path MODEL --dataset_name /data/mine \\
    --assistant_only_loss true --max_length 512 --output_dir OUT
  """
  command = FORMATS[name].train
  if length is not None:
    command = _LENGTH.sub(str(length), command)
  if "{folder!r}" in command:  # Python, not words of a shell.
    return command.replace("{folder!r}", repr(folder))
  # The whole word is quoted: it may have a `*` for the trainer.
  return _WORD.sub(
    lambda word: shlex.quote(word[0].replace("FOLDER", folder)), command
  )


def has_length(name: str) -> bool:
  """Whether the command of a format says how long a record may be.

  >>> has_length("trl"), has_length("openai")
  (True, False)
  """
  return _LENGTH.search(FORMATS[name].train) is not None


def write(
  name: str,
  examples: Iterable[example_lib.Example],
  folder: pathlib.Path,
  *,
  place: str,
  facts: card.Facts,
) -> tuple[int, example_lib.LeftOut]:
  """Writes examples in a format, with a card, into an empty folder.

  Args:
    name: of the format.
    examples: in the order of their rank; gone through twice by some formats.
    folder: that is written.
    place: path that the folder will have.
    facts: what the card says of the run.

  Returns:
    How many rows were written; and what was left out.

  Raises:
    errors.InputError: no example can be written in this format.
  """
  chosen = find(name)
  left_out = example_lib.LeftOut()
  counted = _Counted(_rows(chosen, examples, left_out))
  chosen.save(folder, counted, examples)
  reasons = left_out.reasons()
  if not counted.count:
    told = "; ".join(f"{count:,}: {why}" for why, count in reasons.items())
    raise errors.InputError(
      f"--to {name} can hold none of the selected records ({told}). Take "
      "another format: hf holds all."
    )
  for file, make in chosen.beside.items():
    (folder / file).write_text(make(place), encoding="utf-8")
  if left_out.lines:
    rows.write_lines(folder / LEFT_OUT, left_out.lines)
  described = card.Export(
    name=f"{name}-{counted.fingerprint()}",
    pattern=chosen.pattern,
    count=counted.count,
    columns=chosen.columns,
    # A card may be published: it has no path of this machine.
    train=train(name, "FOLDER", facts.longest),
    has_length=has_length(name),
    left_out=reasons,
  )
  (folder / CARD).write_text(card.text(facts, described), encoding="utf-8")
  return counted.count, left_out


class _Counted:
  """Goes through rows once, and counts them.

  Attributes:
    count: rows so far.
  """

  def __init__(self, made: Iterator[dict[str, Any]]):
    self.count = 0
    self._made = made
    self._hash = hashlib.sha256()

  def __iter__(self) -> Iterator[dict[str, Any]]:
    for row in self._made:
      self.count += 1
      self._hash.update(rows.json_text(row).encode())
      yield row

  def fingerprint(self) -> str:
    """8 hex digits of the SHA-256 of the rows so far."""
    return self._hash.hexdigest()[:8]


def _rows(
  chosen: Format,
  examples: Iterable[example_lib.Example],
  left_out: example_lib.LeftOut,
) -> Iterator[dict[str, Any]]:
  for example in examples:
    try:
      row = chosen.row(example)
    except records.Reject as why:
      left_out.add(example, why)
    else:
      yield row

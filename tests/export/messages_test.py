"""Messages for TRL and Axolotl: calls as they take them, masks as they obey."""

import json
import shlex

import pytest

from ila_jax.export import card, formats, messages
from ila_jax.pool import records
from tests.support import model_folders, selected_run

EXAMPLES = {one.source: one for one in selected_run.examples()}


def test_trl_gets_arguments_as_objects_and_tools_as_text():
  row = messages.trl(EXAMPLES["tools"])
  (call,) = row["messages"][1]["tool_calls"]
  assert call["type"] == "function"
  assert call["function"] == {"name": "add", "arguments": {"x": 1, "y": "é"}}
  assert json.loads(row["tools"])[0]["function"]["name"] == "add"
  (call,) = messages.trl(EXAMPLES["no_ids"])["messages"][1]["tool_calls"]
  assert call["function"]["arguments"] == {"to": [1]}


def test_axolotl_gets_arguments_as_text():
  (call,) = messages.axolotl(EXAMPLES["tools"])["messages"][1]["tool_calls"]
  assert json.loads(call["function"]["arguments"]) == {"x": 1, "y": "é"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_axolotl_is_told_of_every_answer_whether_it_is_learnt(name):
  said = messages.axolotl(EXAMPLES[name])["messages"]
  turns = [turn for turn in EXAMPLES[name].turns if turn.role != "tools"]
  for message, turn in zip(said, turns, strict=True):
    expected = turn.is_learnt if turn.role == "assistant" else None
    assert message.get("train") is expected


def test_trl_is_not_given_what_it_would_learn():
  with pytest.raises(records.Reject, match="not learnt"):
    messages.trl(EXAMPLES["masked"])


def test_thoughts_and_texts_are_as_they_were():
  said = messages.trl(EXAMPLES["thought"])["messages"]
  assert said[1]["reasoning_content"] == "easy"
  assert said[1]["content"] == "4"
  assert "train" not in said[1]


def test_what_is_no_call_is_text_of_its_turn():
  turns = [
    records.Turn("user", "Hi"),
    records.Turn("assistant", "x", calls="{"),
  ]
  said, tools = messages.uniform(turns)
  assert said[1] == {"role": "assistant", "content": "x\n{"}
  assert tools is None


def test_the_config_of_axolotl_reads_the_marks():
  yaml = pytest.importorskip("yaml")
  text = messages.axolotl_config("/a b/'c", "train.jsonl")
  (data,) = yaml.safe_load(text)["datasets"]
  assert data["path"] == "/a b/'c/train.jsonl"
  assert data["message_field_training"] == "train"
  assert data["roles_to_train"] == ["assistant"]


# As the templates do with which TRL trains on answers alone.
_TEMPLATE = (
  "{% if tools %}<|bos|>t: {{ tools | tojson }}<|end|>{% endif %}"
  "{% for m in messages %}<|bos|>{{ m.role[:1] }}: "
  "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
  "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}<|end|>"
  "{% endgeneration %}{% else %}{{ m.content }}<|end|>{% endif %}{% endfor %}"
  "{% if add_generation_prompt %}<|bos|>a: {% endif %}"
)


# What TRL and torch warn of is theirs.
@pytest.mark.filterwarnings("ignore")
def test_trl_trains_on_the_answers(tmp_path):
  trl = pytest.importorskip("trl")
  datasets = pytest.importorskip("datasets")
  import transformers

  folder, base = tmp_path / "trl", tmp_path / "base"
  folder.mkdir()
  facts = card.Facts(["a"], "ila", "6 examples", 6, [], "By hand")
  chosen = list(EXAMPLES.values())
  formats.write("trl", chosen, folder, place=str(folder), facts=facts)
  texts = [turn.text for example in chosen for turn in example.turns]
  model_folders.llama(base, texts * 9)
  tokenizer = transformers.AutoTokenizer.from_pretrained(base)
  tokenizer.chat_template = _TEMPLATE
  trainer = trl.SFTTrainer(
    model=transformers.AutoModelForCausalLM.from_pretrained(base),
    args=trl.SFTConfig(
      output_dir=str(tmp_path / "out"),
      assistant_only_loss=True,
      max_steps=1,
      max_length=256,
      per_device_train_batch_size=2,
      report_to=[],
      use_cpu=True,
      bf16=False,
      save_strategy="no",
    ),
    train_dataset=datasets.load_dataset(
      str(folder), split="train", cache_dir=str(tmp_path / "cache")
    ),
    processing_class=tokenizer,
  )
  row = next(one for one in trainer.train_dataset if one["rank"] == 4)
  learnt = [i for i in row["labels"] if i != -100]
  said = tokenizer.decode(learnt)
  assert said.startswith('[{"')
  assert '"arguments": {"x": 1, "y": "' in said
  assert said.endswith("<|end|>It is 3.<|end|>")
  assert "Add 1." in tokenizer.decode(row["input_ids"])
  done = trainer.train()
  assert done.global_step == 1
  assert 0 < done.training_loss < 20


# Of TRL's own defaults.
@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
def test_trl_reads_the_flags_of_the_command():
  trl = pytest.importorskip("trl")
  command = formats.train("trl", "/a folder", 1234)
  words = shlex.split(command.replace("\\\n", ""))
  assert words[:2] == ["trl", "sft"]
  parser = trl.TrlParser((trl.ScriptArguments, trl.SFTConfig, trl.ModelConfig))
  here = ["--use_cpu", "true", "--bf16", "false"]
  script, training, model = parser.parse_args_and_config([*words[2:], *here])
  assert script.dataset_name == "/a folder"
  assert model.model_name_or_path == "MODEL"
  assert training.max_length == 1234 and training.assistant_only_loss

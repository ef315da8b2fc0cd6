"""Inner products of examples' gradients, as bergson has them.

bergson (EleutherAI) is not among the requirements; with torch 2.13.0 it runs
after torchvision and torchaudio, of another torch, are removed:

python -m tests.support.bergson_gram FOLDER
python -m venv VENV; VENV/bin/pip install torch==2.13.0 bergson==2.5.1
VENV/bin/pip uninstall torchvision torchaudio
VENV/bin/python tests/support/bergson_gram.py FOLDER

The first writes model, adapter and examples of
`tests/passes/example_gradients_test.py`; the last prints `GRAM`.
"""

import json
import pathlib
import sys

import numpy as np

# bergson 2.5.1, torch 2.13.0: of five examples, no projection.
GRAM = [
  [51.728228, -2.0339661, 1.9422543, 1.7922201, 0.37533355],
  [-2.0339661, 32.29512, -0.32503401, 0.66399955, -0.0568527],
  [1.9422543, -0.32503401, 30.6184, 0.33261297, -1.6911756],
  [1.7922201, 0.66399955, 0.33261297, 18.95965, -1.1112261],
  [0.37533355, -0.0568527, -1.6911756, -1.1112261, 31.537416],
]


def _export(folder: pathlib.Path) -> None:
  from ila_jax.compute import mesh as mesh_lib
  from ila_jax.models.folders import peft, weights
  from tests.passes import example_gradients_test as test
  from tests.support import torch_models

  torch_models.save(torch_models.make_decoder("llama_gqa"), folder / "base")
  _, decoder = weights.load_decoder(folder / "base", mesh=mesh_lib.make())
  adapter = test._adapter(decoder.config, 0)
  name = str(folder / "base")
  peft.save(folder / "lora", test.LORA, adapter, base_name=name)
  rows = [
    {
      "input_ids": ids.tolist(),
      "labels": np.where(mask, ids, -100).tolist(),
      "length": len(ids),
    }
    for ids, mask in zip(
      test._data().tokens, test._data().is_response, strict=True
    )
  ]
  (folder / "rows.json").write_text(json.dumps(rows))


def _gram(folder: pathlib.Path) -> list[list[float]]:
  import bergson
  import datasets
  import peft
  import torch
  import transformers

  base = transformers.AutoModelForCausalLM.from_pretrained(folder / "base")
  model = peft.PeftModel.from_pretrained(
    base.float(), folder / "lora", is_trainable=True
  ).eval()
  rows = json.loads((folder / "rows.json").read_text())
  data = datasets.Dataset.from_list(rows)
  (folder / "run.part").mkdir(exist_ok=True)
  config = bergson.IndexConfig(
    run_path=str(folder / "run"), loss_reduction="mean", token_batch_size=64
  )
  collector = bergson.InMemoryCollector(
    model=model.base_model,
    cfg=config,
    processor=bergson.GradientProcessor(projection_dim=None),
    target_modules={
      name.removeprefix("base_model.")
      for name, module in model.named_modules()
      if isinstance(module, torch.nn.Linear) and "lora_" in name
    },
    data=data,
  )
  bergson.CollectorComputer(
    model=model,
    data=data,
    collector=collector,
    batches=[[row] for row in range(len(rows))],
    cfg=config,
  ).run_with_collector_hooks(desc="gradients")
  each = [g.double().numpy() for g in collector.gradients.values()]
  return sum(g @ g.T for g in each).tolist()


if __name__ == "__main__":
  given = pathlib.Path(sys.argv[1])
  if __spec__ is not None:  # Run as a module of the tests.
    _export(given)
  else:
    for line in _gram(given):
      print([float(f"{number:.8g}") for number in line])

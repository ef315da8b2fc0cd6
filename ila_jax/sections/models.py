"""Sections `model`, `encoder` and `mesh`: the networks and the devices."""

import dataclasses

from ila_jax.sections import checked, ranges

_DTYPES = ("float32", "bfloat16")
_KERNELS = "models.attention.CHOICES"
_LAYOUTS = "passes.layouts.LAYOUTS"
# Python documentation that no pool of numeric packages holds.
_GENERAL_PROSE = (
  "docstrings:absl,argparse,ast,asyncio,collections,concurrent,configparser,"
  "csv,ctypes,datetime,decimal,difflib,email,flax,fractions,functools,html,"
  "http,importlib,inspect,ipaddress,jinja2,json,logging,multiprocessing,orbax,"
  "pathlib,pickle,random,re,shutil,socket,sqlite3,statistics,string,subprocess,"
  "tarfile,tempfile,textwrap,threading,tokenize,typing,unittest,urllib,uuid,"
  "xml,zipfile"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scratch(checked.Checked):
  """The small base model made on the spot when model.path is 'scratch'."""

  source: str = checked.field(
    _GENERAL_PROSE,
    "the texts that a base from scratch learns from; all of model.scratch "
    "counts where model.path is 'scratch'",
    path=checked.SOURCE,
  )
  vocab: int = checked.field(
    4096,
    "tokens of the byte-level BPE, which is trained on the pool",
    low=259,  # bytes and three marks
    high=2**20,
  )
  layers: int = checked.field(4, "blocks", low=1, high=1000)
  width: int = checked.field(
    128, "width of the residual stream", low=1, high=2**16
  )
  heads: int = checked.field(4, "heads of the queries", low=1, high=2**12)
  kv_heads: int = checked.field(
    2, "heads of the keys and values", low=1, high=2**12
  )
  mlp_width: int = checked.field(384, "width of the MLP", low=1, high=2**18)
  epochs: float = checked.field(
    1.0, "passes over model.scratch.source", **ranges.EPOCHS
  )
  learning_rate: float = checked.field(
    3e-3, "highest learning rate", **ranges.LEARNING_RATE
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(checked.Checked):
  """The base causal language model."""

  path: str | None = checked.field(
    None,
    "a Hugging Face folder or name; a GGUF file, or a folder with one; or "
    "'scratch', a small one made on the spot",
    path=checked.MODEL,
  )
  dtype: str = checked.field(
    "float32",
    "type of the weights and of compute; losses are float32",
    choices=_DTYPES,
  )
  attention: str = checked.field(
    "auto",
    "kernel; 'auto': by platform",
    choices=_KERNELS,
    changes=checked.NOTHING,
  )
  scratch: Scratch = dataclasses.field(default_factory=Scratch)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder(checked.Checked):
  """The sentence encoder of the map."""

  path: str | None = checked.field(
    None,
    "a Hugging Face folder or name; or 'lsa' (no network), or 'base'",
    path=checked.MODEL,
  )
  dtype: str = checked.field("float32", "type of compute", choices=_DTYPES)
  attention: str = checked.field(
    "auto",
    "kernel; 'auto': by platform",
    choices=_KERNELS,
    changes=checked.NOTHING,
  )
  prefix: str = checked.field(
    "", "text before every prompt; E5 wants 'query: '"
  )
  system: bool = checked.field(
    False, "embed the system text too, after the user's turns"
  )
  max_tokens: int = checked.field(
    256,
    "tokens of the prompt; longer ones lose their far end",
    low=4,
    high=ranges.MAX_TOKENS,
  )
  batch_tokens: int = checked.field(
    1024,
    "tokens of a batch per device, padding included",
    **ranges.BATCH_TOKENS,
    changes=checked.NOTHING,
  )
  layout: str = checked.field(
    "auto",
    "how batches are laid out; 'auto': by platform",
    choices=_LAYOUTS,
    changes=checked.NOTHING,
  )
  lsa_width: int = checked.field(
    128, "columns of the 'lsa' embeddings", low=2, high=2**14
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh(checked.Checked):
  """How the devices are arranged."""

  data: int | None = checked.field(
    None,
    "devices that share the examples; None: all that are left",
    **ranges.DEVICES,
    changes=checked.NOTHING,
  )
  fsdp: int = checked.field(
    1,
    "devices that share examples and weights",
    **ranges.DEVICES,
    changes=checked.NOTHING,
  )
  tensor: int = checked.field(
    1,
    "devices that share each layer",
    **ranges.DEVICES,
    changes=checked.NOTHING,
  )

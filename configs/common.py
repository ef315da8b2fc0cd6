"""Every field, once. Other configs call this and set what differs."""

import dataclasses

import ml_collections
from ml_collections import config_dict

from ila_jax.methods import table


def _either(value):
  """A field that takes more than one type, such as 'auto' or a number."""
  return config_dict.FieldReference(value, field_type=object)


def _options() -> ml_collections.ConfigDict:
  """The options of every method, as they stand beside it."""
  return ml_collections.ConfigDict(
    {
      name: dataclasses.asdict(method.options())
      for name, method in table.METHODS.items()
      if dataclasses.fields(method.options)
    }
  )


def get_config() -> ml_collections.ConfigDict:
  """All fields with the values that most runs want."""
  config = ml_collections.ConfigDict()
  config.seed = 0  # of every draw; draws are keyed by this and example ids

  config.pool = pool = ml_collections.ConfigDict()
  pool.source = _either(())  # one source or a tuple: see docs/guide.md
  pool.limit = config_dict.placeholder(int)  # usable records read; None: all
  pool.max_reject_fraction = 0.1  # of the records read; above it: exit 2
  pool.dev_examples = 1000  # held out for the dev loss, never candidates
  pool.shard_examples = 8192  # examples of a shard file, the unit of resume
  pool.fields = fields = ml_collections.ConfigDict()  # dotted; '': detect
  fields.prompt = ""  # such as 'problem'
  fields.input = ""  # more of the prompt, such as 'instances.0.input'
  fields.context = ""  # still more of it: one field, or 'a, b'
  fields.choices = ""  # to choose from: a list, or fields as in 'A, B, C'
  fields.response = ""  # such as 'instances.0.output'
  fields.thought = ""  # the reasoning that leads to the response
  fields.system = ""  # the system text
  fields.tools = ""  # descriptions of tools, shown to the model
  fields.history = ""  # earlier turns, as pairs
  fields.conversation = ""  # a list of turns
  fields.labels = ""  # a list, a text such as 'a, b', or a count; '': K = 1
  fields.domain = ""  # a string, or a list whose first counts; '': the map
  # {glob of source names: fields as above that differ there}
  pool.overrides = _either({})
  pool.answers = "first"  # of a list of answers; or 'longest', 'reject'

  config.tokens = tokens = ml_collections.ConfigDict()
  tokens.max_tokens = 2048  # prompt and response together
  tokens.overflow = "reject"  # or 'truncate_prompt': what is longer

  config.model = model = ml_collections.ConfigDict()
  model.path = config_dict.placeholder(str)  # folder or name; or 'scratch'
  model.dtype = "float32"  # of compute and of the weights; losses are float32
  model.attention = "auto"  # by platform; 'blocked', 'plain', 'cudnn', 'splash'
  model.scratch = scratch = ml_collections.ConfigDict()  # for 'scratch' only
  scratch.source = "docstrings:" + ",".join(_GENERAL_PROSE)
  scratch.vocab = 4096  # byte-level BPE trained on the pool
  scratch.layers = 4
  scratch.width = 128  # of the residual stream
  scratch.heads = 4
  scratch.kv_heads = 2
  scratch.mlp_width = 384
  scratch.epochs = 1.0  # over scratch.source
  scratch.learning_rate = 3e-3

  config.encoder = encoder = ml_collections.ConfigDict()
  encoder.path = config_dict.placeholder(str)  # folder, name, 'lsa' or 'base'
  encoder.dtype = "float32"  # of compute
  encoder.attention = "auto"  # as model.attention
  encoder.prefix = ""  # before every prompt; E5 wants 'query: '
  encoder.system = False  # embed the system text too, after the user's turns
  encoder.max_tokens = 256  # of the prompt; longer ones lose their far end
  encoder.batch_tokens = 1024  # per device, padding included
  encoder.layout = "auto"  # by platform; 'buckets', 'pack'
  encoder.lsa_width = 128  # columns of the 'lsa' embeddings

  config.mesh = mesh = ml_collections.ConfigDict()
  mesh.data = config_dict.placeholder(int)  # None: all devices that are left
  mesh.fsdp = 1  # weights and examples sharded
  mesh.tensor = 1  # layers sharded

  config.train = train = ml_collections.ConfigDict()  # shared by all training
  train.batch_tokens = 16384  # of an optimizer step, over all devices
  train.warmup_fraction = 0.03  # of the steps
  train.weight_decay = 0.0
  train.clip_norm = 1.0  # global gradient norm
  train.checkpoint_steps = 500  # between Orbax checkpoints
  train.checkpoint_minutes = 10.0  # or so long, whichever comes first
  train.remat = False  # compute blocks again in the backward pass
  train.method = "full"  # or 'lora': adapters, all scored in one pass
  train.lora_rank = 16  # adapters want learning rates of 1e-4 and up
  train.lora_alpha = 32.0  # updates are scaled by alpha / rank
  train.lora_targets = (
    *("query", "key", "value", "output"),
    *("gate", "up", "down"),
  )

  config.score = score = ml_collections.ConfigDict()
  score.reference_examples = 5000  # of R, the random reference subset
  score.reference_seeds = (0,)  # depth is the mean over these
  score.exclude_reference = True  # R can not be selected
  score.epochs = 1.0  # of the fine-tune on R
  score.learning_rate = 1e-5
  score.batch_tokens = 2048  # per device, padding included
  score.layout = "auto"  # by platform; 'buckets', 'pack'

  config.landscape = landscape = ml_collections.ConfigDict()
  landscape.projection = "tsne"  # or 'parametric', 'pca', 'random'
  landscape.dimensions = 2  # of the map; 'tsne' has 2, others 2 or more
  # The folder `landscape` of another run, whose map this one joins; None: fit
  landscape.map = config_dict.placeholder(str)
  landscape.perplexity = 30.0  # of t-SNE
  landscape.iterations = 1000  # of t-SNE
  landscape.fit_examples = 10000  # that t-SNE fits; the rest are placed
  landscape.cells = "grid"  # over the map, or 'kmeans' on the embeddings
  landscape.grid = _either("auto")  # cells a side; 'auto': as the budget bears
  landscape.clusters = config_dict.placeholder(int)  # None: as the budget bears
  landscape.depth = "ila"  # Equation 5; or 'ila_length'
  landscape.domain_blocks = 8  # map blocks a side, where no domain is given
  # Prompts at least so near each other are told of; None: no report
  landscape.duplicate_cosine = _either(0.95)
  landscape.duplicate_search = "cells"  # and their neighbours; 'all': exact
  landscape.stability = ()  # compared with other maps: see docs/guide.md

  config.select = select = ml_collections.ConfigDict()
  select.strategy = "ila"
  select.budget = 5000.0  # in units of select.unit
  select.unit = "examples"  # or 'tokens' (of responses), 'fraction'
  # By method and by field, such as select.options.trim.quantile = 0.3: of the
  # chosen one and of those it is compared with. What each is: docs/guide.md
  select.options = _options()
  select.drop_duplicates = False  # of near-duplicates one stays: the lowest id
  # Cosine to R from which on a candidate is left out; None: none is.
  select.exclude_near_reference = config_dict.placeholder(float)
  select.compare = ("random", "longest", "depth_only", "coverage_only")

  config.finetune = finetune = ml_collections.ConfigDict()
  finetune.epochs = 3.0
  finetune.learning_rate = 1e-5
  finetune.compare = ("random",)  # tuned at equal examples, equal tokens

  config.scaling = scaling = ml_collections.ConfigDict()
  scaling.subsets = 36  # M of the law; 0: the stage trains nothing
  scaling.held_out = 6  # more subsets, not built from coverage and depth
  scaling.sizes = (500, 1000, 2000, 4000)  # examples of a subset
  scaling.min_cell_share = 0.1  # of the cells that a subset may use
  scaling.depth_band = 0.34  # width of the band of relative depths
  scaling.resamples = 2000  # of the bootstrap, and of the permutations
  return config


def paper(model_path: str) -> ml_collections.ConfigDict:
  """What the paper's base models share: labels, encoder, bfloat16, a mesh.

  Budgets, learning rates and batch sizes are ours; the paper's are not all
  printed.
  """
  config = get_config()
  config.pool.fields.labels = "label.ability_en"  # of Infinity-Instruct
  config.model.path = model_path
  config.model.dtype = "bfloat16"
  config.pool.shard_examples = 65536  # a shard fills the devices many times
  config.encoder.path = "BAAI/bge-base-en-v1.5"
  config.encoder.dtype = "bfloat16"
  config.encoder.max_tokens = 512
  config.encoder.batch_tokens = 65536
  config.score.batch_tokens = 32768
  config.score.reference_seeds = (0, 1, 2)
  config.train.batch_tokens = 131072
  config.train.remat = True
  return config


# Python documentation that no pool of numeric packages holds.
_GENERAL_PROSE = (
  "absl",
  "argparse",
  "ast",
  "asyncio",
  "collections",
  "concurrent",
  "configparser",
  "csv",
  "ctypes",
  "datetime",
  "decimal",
  "difflib",
  "email",
  "flax",
  "fractions",
  "functools",
  "html",
  "http",
  "importlib",
  "inspect",
  "ipaddress",
  "jinja2",
  "json",
  "logging",
  "multiprocessing",
  "orbax",
  "pathlib",
  "pickle",
  "random",
  "re",
  "shutil",
  "socket",
  "sqlite3",
  "statistics",
  "string",
  "subprocess",
  "tarfile",
  "tempfile",
  "textwrap",
  "threading",
  "tokenize",
  "typing",
  "unittest",
  "urllib",
  "uuid",
  "xml",
  "zipfile",
)

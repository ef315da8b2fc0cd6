"""Prompts that are tokenized by all hosts, each its share of a shard.

A host that read them all would keep a pod waiting: its devices embed prompts
faster than its cores make them into tokens.
"""

import io
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Int32

from ila_jax.compute import mesh
from ila_jax.embed import inputs

Reading = tuple[list[Int32[np.ndarray, " _"]], inputs.Read]
_NONE = np.zeros((2, 0), np.int32)


def of_own(
  read: Callable[[list[str]], Reading], prompts: Sequence[str]
) -> Reading:
  """Reads the prompts of this host: as many of a row as all others read.

  Args:
    read: of an `encoders.Reader`.
    prompts: of a shard.
  """
  host, hosts = jax.process_index(), jax.process_count()
  begin, end = (len(prompts) * i // hosts for i in (host, host + 1))
  if begin == end:
    return [], inputs.Read(*np.zeros((2, 0), np.uint64), *_NONE)
  return read(list(prompts[begin:end]))


def whole(part: Reading) -> Reading:
  """What all hosts have read, on every host, in the order of the prompts.

  Args:
    part: token ids of this host's prompts, and what they say of them.
  """
  if jax.process_count() == 1:
    return part
  ids, read = part
  flat = np.concatenate([np.zeros(0, np.int32), *ids])
  file = io.BytesIO()
  np.savez(file, flat, *read)
  parts = []
  for content in mesh.exchange(file.getvalue()):
    with np.load(io.BytesIO(content)) as arrays:
      parts.append([arrays[name] for name in arrays.files])
  flat, *columns = map(np.concatenate, zip(*parts, strict=True))
  read = inputs.Read(*columns)
  return np.split(flat, np.cumsum(read.tokens)[:-1]), read

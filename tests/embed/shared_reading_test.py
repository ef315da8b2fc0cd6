"""Prompts that hosts read by shares: as one reads them all."""

import json

import numpy as np

from ila_jax.embed import inputs, shared_reading
from tests.support import hosts

_PROMPTS = ["one two", "three", "four five six seven", "eight", "nine ten"]


def _read(prompts):
  """A tokenizer of words, by their lengths."""
  ids = [np.array(list(map(len, p.split())), np.int32) for p in prompts]
  return ids, inputs.Read(
    inputs.fingerprints(p.encode() for p in prompts),
    inputs.fingerprints(row.tobytes() for row in ids),
    np.array(list(map(len, ids)), np.int32),
    np.arange(len(prompts), dtype=np.int32),
  )


def told(prompts):
  """What is known of prompts when all hosts have read theirs, as JSON."""
  part = shared_reading.of_own(_read, prompts)
  ids, read = shared_reading.whole(part)
  columns = [column.tolist() for column in read[:3]]
  types = [str(column.dtype) for column in read]
  return [len(part[0]), [row.tolist() for row in ids], columns, types]


def test_one_host_reads_all():
  assert told(_PROMPTS)[0] == 5


def test_hosts_know_what_the_others_have_read():
  program = (
    "import json, sys\n"
    "from tests.support import hosts\n"
    "from tests.embed import shared_reading_test as here\n"
    "hosts.join(sys.argv[1:3])\n"
    "some = [here._PROMPTS, here._PROMPTS[:1]]\n"
    "print(json.dumps([here.told(prompts) for prompts in some]))\n"
  )
  answers = hosts.run(program, seconds=300)
  five, one = zip(
    *(json.loads(said.splitlines()[-1]) for said, _ in answers), strict=True
  )
  assert [own for own, *_ in five] == [2, 3]
  assert [own for own, *_ in one] == [0, 1]
  for prompts, known in ((_PROMPTS, five), (_PROMPTS[:1], one)):
    assert [rest for _, *rest in known] == [told(prompts)[1:]] * 2

"""Ours and the peers on the same work, side by side.

    pip install --no-deps -r tests/benchmarks/requirements.txt
    python -m tests.benchmarks.score        # response loss of every example
    python -m tests.benchmarks.embed        # sentence embeddings of MiniLM
    python -m tests.benchmarks.train_step   # one AdamW step
    python -m tests.benchmarks.together     # several small trainings
    python -m tests.benchmarks.loss_memory  # the loss at vocabulary 151,936
    python -m tests.benchmarks.attention    # attention kernels
    python -m tests.benchmarks.loading      # a checkpoint of gigabytes
    python -m tests.benchmarks.kmeans       # Lloyd's iterations
    python -m tests.benchmarks.maps         # neighbours that maps keep
    python -m tests.benchmarks.tsne         # maps of 5,000 to 50,000 points
    python -m tests.benchmarks.placing      # new points on a fitted map
    python -m tests.benchmarks.padding      # padding of a real pool
    python -m tests.benchmarks.argmax       # the deepest row of every cell
    python -m tests.benchmarks.pool_scale   # stages on 100 million rows
    python -m tests.benchmarks.device_score # large models; wants accelerators

`--help` lists what can be chosen; `--tiny` is a trial that takes seconds and
measures nothing. Each prints a table and, as its last line, one JSON object

    {"benchmark": NAME, "ours": seconds, "rivals": {name: seconds},
     "quality": {...}, "work": {...}}

in which seconds are medians. How it is measured, so that it is fair:

* Every contender is a fresh process of its own, with as many threads and CPUs
  as the others; none of them inherits OMP_NUM_THREADS from a test session. All
  compute on CPU, whatever else the machine has.
* All do the work once to warm up: there JAX compiles and torch fills its
  caches. That pass is printed beside the rest and is not in the medians.
  (Not so in `tsne`, whose passes take minutes: there all is in one pass.)
* Then they take turns, one pass a round, while the others wait; trust the
  ratios of one run, for machines differ and are shared.
* A pass ends when its numbers are on the host, as NumPy arrays.
* The machine's matrix rate (2048^3) is measured in the same rounds, and the
  necessary work is counted, not guessed: tokens without padding, causal
  attention, and the head on response tokens. "% limit" is their quotient.
* Peak memory is what a process held at most since its model was loaded, less
  what it held then; compiling is part of it.
* A rival that is not installed is left out, and a line says which package is
  missing.
"""

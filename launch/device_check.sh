#!/usr/bin/env bash
# What only an accelerator can show, in one call of under nine minutes:
#   bash launch/device_check.sh [--tiny] [--out FOLDER] [PART ...]
# The parts share that time, the most valuable first: the last ones are cut, or
# not begun, and named at the end; ask for them by name in another call.
# Speed of scoring, training, t-SNE and argmax; right numbers and equal bits;
# whole runs; sharded tests. --tiny tries all of it on a CPU and measures nothing.
# PYTHON=/path/to/python chooses the interpreter; else that of .venv, or python3.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
[ -n "${PYTHON:-}" ] || [ -x "$python" ] || python=python3
exec "$python" -m tests.benchmarks.device_check "$@"

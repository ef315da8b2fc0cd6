#!/usr/bin/env bash
# All tests on a fresh machine: bash launch/test.sh [pytest arguments]
# With the oldest versions that requirements.txt allows (needs uv; a venv of its
# own): RESOLUTION=lowest-direct bash launch/test.sh [pytest arguments]
# With more extras of setup.py: EXTRA=test,gguf
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh
ensure_venv "${EXTRA:-test,tpu-compile}"

# Older versions lint and format otherwise, and warn of what newer ones have
# mended.
oldest=(-W default)
if [ -z "${RESOLUTION:-}" ]; then
  "$venv/bin/ruff" check .
  "$venv/bin/ruff" format --check .
  oldest=()
fi
# Without bytecode each worker compiles all modules anew and rewrites all
# assertions, and each program that a test starts compiles the package.
unset PYTHONDONTWRITEBYTECODE
# Two workers more than cores, for the first files wait for processes that they
# have started; four at most, since each holds eight devices and their programs.
# Files keep the order of tests/conftest.py, the longest first.
cores="$("$venv/bin/python" -c 'import os; print(os.cpu_count() or 1)')"
exec "$venv/bin/python" -m pytest -n "$((cores < 2 ? 3 : 4))" \
  --dist loadfile \
  --no-loadscope-reorder --durations=10 --durations-min=1 "${oldest[@]}" "$@"

#!/usr/bin/env bash
# All tests on a fresh machine: bash launch/test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh
ensure_venv test

.venv/bin/ruff check .
.venv/bin/ruff format --check .
# A worker a core, but each holds eight devices and their programs.
exec .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"

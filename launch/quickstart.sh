#!/usr/bin/env bash
# The whole pipeline on this machine, offline once installed:
#   bash launch/quickstart.sh [WORKDIR] [--config.pool.source=PATH ...]
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh
ensure_venv

workdir=runs/quickstart
if [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; then
  workdir="$1"
  shift
fi
exec .venv/bin/python -m ila_jax --config configs/quickstart.py \
  --workdir "$workdir" "$@"

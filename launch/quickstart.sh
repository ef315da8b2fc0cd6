#!/usr/bin/env bash
# The whole pipeline on this machine, on its GPU if it has one; offline once
# installed:
#   bash launch/quickstart.sh [WORKDIR] [--config.pool.source=PATH ...]
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
source "$root/launch/venv.sh"
(cd "$root" && ensure_venv "$(machine_extra)")

workdir="$root/runs/quickstart"
if [ $# -gt 0 ] && [ "${1#--}" = "$1" ]; then
  workdir="$1"
  shift
fi
# Run where the caller is, so that relative paths mean what they say.
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$root/$venv/bin/python" -m ila_jax \
  --config "$root/configs/quickstart.py" --workdir "$workdir" "$@"

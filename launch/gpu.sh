#!/usr/bin/env bash
# One machine with one or more NVIDIA GPUs:
#   bash launch/gpu.sh [--dry-run] --config configs/ila.py --workdir DIR ...
# Installs JAX for CUDA into .venv once, then runs on all GPUs.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
source "$root/launch/venv.sh"

run=""
if [ "${1:-}" = --dry-run ]; then
  run="echo"
  shift
fi
if [ $# -eq 0 ]; then
  sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
if [ -z "$run" ]; then
  command -v nvidia-smi >/dev/null || {
    echo "launch/gpu.sh: no nvidia-smi on PATH: this machine has no NVIDIA" \
      "GPU. Use python -m ila_jax for a CPU, launch/tpu_pod.sh for TPUs." >&2
    exit 2
  }
  extra="$(cuda_extra)"
  (cd "$root" && ensure_venv "$extra")
fi
# Run where the caller is, so that relative paths mean what they say.
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec $run "$root/$venv/bin/python" -m ila_jax "$@"

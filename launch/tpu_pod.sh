#!/usr/bin/env bash
# A TPU slice, from the machine where you run gcloud:
#   TPU=my-slice ZONE=us-east5-a bash launch/tpu_pod.sh [--dry-run] \
#     --config configs/qwen2_7b.py --workdir gs://BUCKET/runs/first ...
# Copies this checkout to every host, installs JAX for TPU there (by uv, which
# brings a Python where the image's is older than 3.11), and runs the same
# command on all of them, each under launch/supervise.sh: where a process dies, all
# start again. Run it again after a preemption: it resumes.
# Environment: TPU (name), ZONE, PROJECT (optional: gcloud's own).
set -euo pipefail
cd "$(dirname "$0")/.."

dry=
if [ "${1:-}" = --dry-run ]; then
  dry=yes
  shift
fi
if [ $# -eq 0 ]; then
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
for name in TPU ZONE; do
  if [ -z "${!name:-}" ]; then
    echo "launch/tpu_pod.sh: $name is not set; set $name=... before the" \
      "command (gcloud compute tpus tpu-vm list)." >&2
    exit 2
  fi
done
case " $* " in
  *" --workdir gs://"* | *" --workdir=gs://"*) ;;
  *)
    echo "launch/tpu_pod.sh: --workdir must be a gs:// folder: the hosts of a" \
      "slice share no disk." >&2
    exit 2
    ;;
esac

where=(--zone "$ZONE" ${PROJECT:+--project "$PROJECT"})
call() {
  if [ -n "$dry" ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

archive="$(mktemp -d)/ila_jax.tar.gz"
trap 'rm -rf "$(dirname "$archive")"' EXIT
call git archive --format=tar.gz -o "$archive" HEAD
call gcloud compute tpus tpu-vm scp "$archive" "$TPU:ila_jax.tar.gz" \
  --worker=all "${where[@]}"
arguments="$(printf '%q ' "$@")"
# Hosts end together, and meet again: JAX waits five minutes for all of them, and
# with six tries no host pauses for longer. A --redo is done once.
supervised="env TRIES=6 bash launch/supervise.sh"
case " $* " in *" --redo"* | *" -redo"*) supervised= ;; esac
call gcloud compute tpus tpu-vm ssh "$TPU" --worker=all "${where[@]}" --command "
set -e
mkdir -p ila_jax && tar -xzf ila_jax.tar.gz -C ila_jax && cd ila_jax
export PATH=\"\$HOME/.local/bin:\$PATH\"
command -v uv >/dev/null ||
  { curl -LsSf https://astral.sh/uv/install.sh -o uv.sh && sh uv.sh; } ||
  echo uv cannot be fetched: the Python of the image has to do >&2
source launch/venv.sh && ensure_venv tpu,gcs
exec $supervised .venv/bin/python -m ila_jax --distributed $arguments"

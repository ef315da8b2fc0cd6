#!/usr/bin/env bash
# A TPU slice that you have, from the machine where you run gcloud:
#   TPU=my-slice ZONE=us-east5-a bash launch/tpu_pod.sh [--dry-run] \
#     --config configs/qwen2_7b.py --workdir gs://BUCKET/runs/first ...
#   TPU=my-slice ZONE=us-east5-a bash launch/tpu_pod.sh [--dry-run] --stop
# Copies this checkout to every host, installs JAX for TPU there (by uv, which
# brings a Python where the image's is older than 3.11), and runs the same
# command on all of them, each under launch/supervise.sh: where a process dies, all
# start again. What is not committed is not copied.
# The run goes on when the connection breaks or this script ends: the same command
# joins it, --stop ends it. launch/tpu_queue.sh brings a slice, too.
# Environment: TPU (name), ZONE, PROJECT (optional: gcloud's own).
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/calls.sh
for name in TPU ZONE; do
  needs "$name" "gcloud compute tpus tpu-vm list"
done
where=(--zone "$ZONE" ${PROJECT:+--project "$PROJECT"})
on_all_hosts() {
  # So that a connection that is dead is noticed.
  call gcloud compute tpus tpu-vm ssh "$TPU" --worker=all "${where[@]}" \
    "--ssh-flag=-o ServerAliveInterval=30" --command "$1"
}

if [ "$1" = --stop ]; then
  on_all_hosts "cd ila_jax && bash launch/host.sh stop"
  exit
fi
needs_bucket "the hosts of a slice share no disk." "$@"
archive="$(mktemp -d)/ila_jax.tar.gz"
trap 'rm -rf "$(dirname "$archive")"' EXIT
call git archive --format=tar.gz -o "$archive" HEAD
call gcloud compute tpus tpu-vm scp "$archive" "$TPU:ila_jax.tar.gz" \
  --worker=all "${where[@]}"
arguments="$(printf '%q ' "$@")"
# Hosts end together, and meet again: JAX waits five minutes for all of them, and
# with six tries no host pauses for longer. A --redo is done once.
supervised="env TRIES=6 bash launch/supervise.sh"
case " $* " in *" --redo"* | *" -redo"*) supervised="" ;; esac
# A run that outlived its connection keeps the code that it began with.
on_all_hosts "
set -e
mkdir -p ila_jax && cd ila_jax
if ! { [ -f launch/host.sh ] && bash launch/host.sh running; }; then
tar -xzf ../ila_jax.tar.gz
export PATH=\"\$HOME/.local/bin:\$PATH\"
command -v uv >/dev/null ||
  { curl -LsSf https://astral.sh/uv/install.sh -o uv.sh && sh uv.sh; } ||
  echo uv cannot be fetched: the Python of the image has to do >&2
source launch/venv.sh && ensure_venv tpu,gcs
fi
exec bash launch/host.sh run $supervised .venv/bin/python -m ila_jax --distributed $arguments"

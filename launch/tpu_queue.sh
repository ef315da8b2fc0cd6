#!/usr/bin/env bash
# A TPU slice from the queue to the last stage, from the machine where you run
# gcloud:
#   TPU=my-slice ZONE=us-west4-a TYPE=v5litepod-64 bash launch/tpu_queue.sh \
#     [--dry-run] --config configs/qwen2_7b.py --workdir gs://BUCKET/runs/first ...
#   TPU=my-slice ZONE=us-west4-a bash launch/tpu_queue.sh [--dry-run] --delete
# Asks for the slice as a queued resource, waits for it, and runs by
# launch/tpu_pod.sh. A slice that is preempted is deleted and asked for again, and
# the run goes on where it was. However the run ends, the slice is deleted then.
# Where this script is stopped, slice and run stay, and the same command joins
# them. Environment:
#   TPU, ZONE           name of the slice; PROJECT (optional: gcloud's own)
#   TYPE                v5litepod-64, v5p-8, v6e-16 ...
#   RUNTIME             software of the slice; by default that of the type
#   SPOT=yes            cheaper, may be preempted
#   REQUEST="--reserved --valid-until-duration=6h"  more flags of the request
#   KEEP=yes            the slice is kept when the run has ended
#   POLL_SECONDS=30     between two looks at the queue
#   TRIES=4             failures in a row after which it gives up
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/calls.sh
for name in TPU ZONE; do
  needs "$name" "gcloud compute tpus queued-resources list"
done
where=(--zone "$ZONE" ${PROJECT:+--project "$PROJECT"})
queue=(gcloud compute tpus queued-resources)
pause="${POLL_SECONDS:-30}" tries="${TRIES:-4}"

delete() {
  call "${queue[@]}" delete "$TPU" --force --quiet "${where[@]}" || {
    echo "$(program): $TPU could not be deleted, and may go on to cost money." \
      "Try again with --delete." >&2
    exit 1
  }
}

if [ "$1" = --delete ]; then
  delete
  exit
fi
needs TYPE "gcloud compute tpus accelerator-types list --zone $ZONE"
needs_bucket "the hosts of a slice share no disk." "$@"
# https://cloud.google.com/tpu/docs/runtimes, "PyTorch and JAX"
case "$TYPE" in
  v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
  v5p-*) runtime=v2-alpha-tpuv5 ;;
  v6e-*) runtime=v2-alpha-tpuv6e ;;
  v[234]-*) runtime=tpu-ubuntu2204-base ;;
  *) needs RUNTIME "no software is known for TYPE=$TYPE" ;;
esac
runtime="${RUNTIME:-${runtime:-}}"

create() {
  # REQUEST is several words.
  # shellcheck disable=SC2086
  call "${queue[@]}" create "$TPU" --node-id="$TPU" --accelerator-type="$TYPE" \
    --runtime-version="$runtime" "${where[@]}" ${SPOT:+--spot} ${REQUEST:-}
}

# https://cloud.google.com/tpu/docs/queued-resources has the states. Nothing where
# there is no such request, which is no error.
state() {
  call "${queue[@]}" list "${where[@]}" --format="value(state.state)" \
    --filter="name~/queuedResources/$TPU\$"
}

# The request may still be active when its slice is gone.
slice_state() {
  gcloud compute tpus tpu-vm list "${where[@]}" --format="value(state)" \
    --filter="name~/nodes/$TPU\$"
}

run() {
  bash launch/tpu_pod.sh ${dry:+--dry-run} "$@"
}

finish() {
  [ -n "${KEEP:-}" ] || delete
  exit "$1"
}

failed() {
  failures=$((failures + 1))
  echo "$(program): $1, failure $failures of $tries" >&2
  if [ "$failures" -ge "$tries" ]; then
    finish "$2"
  fi
}

if [ -n "$dry" ]; then
  create
  state
  run "$@"
  finish 0
fi

stays() {

  echo "$(program): $TPU stays, and costs money. The same command goes on;" \
    "--delete deletes it." >&2
  exit "$1"
}
trap 'stays 130' INT
trap 'stays 143' TERM

failures=0 silent=0 last=none
while :; do
  if ! now="$(state)"; then
    silent=$((silent + 1))
    [ "$silent" -lt "$tries" ] || stays 1
    sleep "$pause"
    continue
  fi
  silent=0
  before="$last"
  if [ "$now" != "$last" ]; then
    echo "$(program): $TPU ${now:-is not there}" >&2
    last="$now"
  fi
  case "$now" in
    "")
      if [ "$before" = ACTIVE ]; then  # A preempted slice leaves its request.
        sleep "$pause"
        if now="$(state)" && [ -z "$now" ]; then
          echo "$(program): $TPU was deleted, and is not asked for again" >&2
          exit 143
        fi
        continue
      fi
      create
      ;;
    FAILED)
      failed "the request for $TPU failed" 1
      delete
      ;;
    SUSPENDED) delete ;;
    ACTIVE)
      status=0
      run "$@" || status=$?
      [ "$status" -ne 0 ] || finish 0
      sleep "$pause"
      # Where gcloud does not answer, nothing is known, and nothing deleted.
      if ! { vm="$(slice_state)" && now="$(state)"; }; then
        continue
      fi
      if [ "$vm:$now" != READY:ACTIVE ]; then
        echo "$(program): $TPU was preempted" >&2
        failures=0 last=none
        delete
        continue
      fi
      # gcloud's own failures have statuses of the run: so this only where the
      # slice is there.
      case "$status" in 1 | 2 | 126 | 127) finish "$status" ;; esac
      failed "status $status" "$status"
      ;;
    *) sleep "$pause" ;;
  esac
done

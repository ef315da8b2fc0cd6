#!/usr/bin/env bash
# Starts a run again until it is done, on machines that come and go:
#   bash launch/supervise.sh .venv/bin/python -m ila_jax --config ... --workdir DIR
#   bash launch/supervise.sh bash launch/gpu.sh --config ... --workdir DIR
# It ends with the status of the command where another start would be of no use:
# 0 (done), 1 (a bug), 2 (something that you can mend), 126 and 127 (no such
# command); and when it is itself stopped by SIGINT or SIGTERM, which it passes
# on. After any other status it waits and starts the same command again, which
# goes on where it was. Environment:
#   TRIES=8            failures in a row after which it gives up
#   WAIT_SECONDS=10    before the second start; doubled after each failure
#   MOST_SECONDS=600   longest wait; the failure of a run that took longer than
#                      this counts as the first
set -uo pipefail
tries="${TRIES:-8}" wait_seconds="${WAIT_SECONDS:-10}" most="${MOST_SECONDS:-600}"

if [ $# -eq 0 ]; then
  sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
for word in "$@"; do
  case "$word" in
    --redo | --redo=* | -redo | -redo=*)
      echo "launch/supervise.sh: --redo would be done at every start. Run it" \
        "once without launch/supervise.sh, until its stage has begun." >&2
      exit 2
      ;;
  esac
done
for value in "$tries" "$wait_seconds" "$most"; do
  case "$value" in
    "" | *[!0-9]*)
      echo "launch/supervise.sh: TRIES, WAIT_SECONDS or MOST_SECONDS is" \
        "'$value'; allowed: a whole number." >&2
      exit 2
      ;;
  esac
done

# A process group of its own: Ctrl-C comes here, and is passed on once.
set -m
child="" stopped="" woken=""
pass_on() {
  stopped="$1" woken=yes
  [ -z "$child" ] || kill -s "${stopped%:*}" "$child" 2>/dev/null
}
trap 'pass_on TERM:143' TERM
trap 'pass_on INT:130' INT

# Runs a command to its end; a signal ends `wait`, and not the command.
run() {
  local status next
  woken=
  "$@" &
  child=$!
  [ -z "$stopped" ] || pass_on "$stopped"
  wait "$child"
  status=$?
  while [ -n "$woken" ]; do
    woken=
    wait "$child"
    next=$?
    # 127: its status was told before.
    [ "$next" -eq 127 ] || status=$next
  done
  child=
  return "$status"
}

failures=0 pause="$wait_seconds"
while :; do
  begin=$SECONDS
  run "$@"
  status=$?
  case "$status" in 0 | 1 | 2 | 126 | 127) exit "$status" ;; esac
  [ -z "$stopped" ] || exit "$status"
  if [ $((SECONDS - begin)) -gt "$most" ]; then
    failures=0 pause="$wait_seconds"
  fi
  failures=$((failures + 1))
  said="launch/supervise.sh: status $status, failure $failures of $tries"
  if [ "$failures" -ge "$tries" ]; then
    echo "$said: it gives up" >&2
    exit "$status"
  fi
  echo "$said: starts again in $pause s" >&2
  run sleep "$pause"
  [ -z "$stopped" ] || exit "${stopped#*:}"
  pause=$((2 * pause < most ? 2 * pause : most))
done

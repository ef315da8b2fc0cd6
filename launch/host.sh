#!/usr/bin/env bash
# What launch/tpu_pod.sh does on each host, in the checkout there:
#   bash launch/host.sh run COMMAND ...  starts a command that outlives the
#     connection, or joins it where it goes on; shows what it says, and ends with
#     its status
#   bash launch/host.sh running          status 0 where one goes on
#   bash launch/host.sh stop             sends SIGTERM to it, and waits for its end
# Files of its own are in the folder .host.
set -euo pipefail
mkdir -p .host

# Whoever holds the lock is at work; it is given up with the last process.
running() {
  ! flock --nonblock .host/lock true
}

case "${1:-}" in
  running) running ;;
  stop)
    running || exit 0
    kill -s TERM -- "-$(cat .host/pid)"
    while running; do sleep 1; done
    ;;
  run)
    shift
    said="$(printf '%q ' "$@")"
    exec 9>.host/lock
    if flock --nonblock 9; then
      rm -f .host/status
      # Before the run begins: it may not be as fast as who reads it.
      : > .host/log
      echo "$said" > .host/command
      # Of a group of its own, to which `stop` speaks. A signal must not end the
      # shell before it has written the status.
      # shellcheck disable=SC2016
      setsid bash -c 'trap : TERM INT; "$@"; echo $? > .host/status' run "$@" \
        >> .host/log 2>&1 < /dev/null &
      echo $! > .host/pid
    elif [ "$(cat .host/command)" != "$said" ]; then
      echo "launch/host.sh: another run goes on here: $(cat .host/command)" \
        "End it by launch/tpu_pod.sh --stop, or repeat its command." >&2
      exit 2
    fi
    exec 9>&-
    tail --lines=+1 --follow --pid="$(cat .host/pid)" .host/log
    # Without a status it was killed outright.
    exit "$(cat .host/status 2>/dev/null || echo 137)"
    ;;
  *)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

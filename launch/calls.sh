# shellcheck shell=bash
# Sourced by the launchers that command other machines: what each of them does by
# the programs of others, it does through `call`, which --dry-run makes print.

dry="${dry:-}"

call() {
  if [ -n "$dry" ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

# Ends with status 2 where a variable of the environment is not set:
#   needs NAME HINT
needs() {
  if [ -z "${!1:-}" ]; then
    echo "$(program): $1 is not set; set $1=... before the command ($2)." >&2
    exit 2
  fi
}

# Ends with status 2 where the workdir is not one that all hosts see:
#   needs_bucket WHY FLAGS ...
needs_bucket() {
  case " ${*:2} " in
    *" --workdir gs://"* | *" --workdir=gs://"*) ;;
    *)
      echo "$(program): --workdir must be a gs:// folder: $1" >&2
      exit 2
      ;;
  esac
}

# The header of the script, as its help.
usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

program() {
  echo "launch/${0##*/}"
}

# The first word of each of them may be --dry-run; others must follow.
if [ "${1:-}" = --dry-run ]; then
  dry=yes
  shift
fi
[ $# -gt 0 ] || usage

#!/usr/bin/env bash
# Runs the notebooks as Colab would, in an environment where ila_jax is not
# installed; the first of them installs it from this checkout:
#   bash launch/colab/execute.sh [NAME ...]
# Needs ipykernel and nbclient beside PYTHON (python3).
set -euo pipefail
folder="$(cd "$(dirname "$0")" && pwd)"
checkout="$(cd "$folder/../.." && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
if [ $# -eq 0 ]; then
  set -- first_selection ablations your_own_method
fi
for name in "$@"; do
  # The field of the first form, as it stands in JSON.
  sed "s|address = \\\\\"\\\\\"|address = \\\\\"$checkout\\\\\"|" \
    "$folder/$name.ipynb" > "$name.ipynb"
  grep -qF "$checkout" "$name.ipynb"
  echo "$name ..."
  "${PYTHON:-python3}" -m jupyter execute --timeout=1200 --startup_timeout=300 \
    "$name.ipynb"
done

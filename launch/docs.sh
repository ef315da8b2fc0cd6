#!/usr/bin/env bash
# The site, on http://localhost:8000, renewed while its pages are edited:
#   bash launch/docs.sh [options of mkdocs serve, such as --dev-addr HOST:PORT]
# Once, into a folder that is new, empty or holds an earlier build; what is wrong
# in a page, such as a link that leads nowhere, ends it:
#   bash launch/docs.sh --build DIR
set -euo pipefail
from="$PWD"
cd "$(dirname "$0")/.."
source launch/venv.sh

folder=""
if [ "${1:-}" = --build ]; then
  folder="$(cd "$from" && realpath -m -- "${2:?--build needs a folder}")"
  # mkdocs empties the folder that it builds into.
  if [ -n "$(ls -A "$folder" 2>/dev/null)" ] && [ ! -f "$folder/sitemap.xml" ]; then
    echo "$folder holds something else than the site. Give a new folder, or an" \
      "empty one." >&2
    exit 2
  fi
fi
ensure_venv docs
export NO_MKDOCS_2_WARNING=1  # Of a successor; setup.py keeps mkdocs below 2.
if [ -n "$folder" ]; then
  exec "$venv/bin/python" -m mkdocs build --strict --site-dir "$folder"
fi
exec "$venv/bin/python" -m mkdocs serve "$@"

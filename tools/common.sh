# Sourced by the other scripts: where the project is, and which Python runs it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# An active environment wins, then the project's own, then PYTHON or python3.
run_python() {
  if [ -n "${VIRTUAL_ENV:-}" ]; then echo "$VIRTUAL_ENV/bin/python"
  elif [ -x "$root/.venv/bin/python" ]; then echo "$root/.venv/bin/python"
  else echo "${PYTHON:-python3}"; fi
}

# ensure_environment [EXTRA]: makes .venv if there is none and installs the project with
# its pinned set; does nothing where that has been done.
ensure_environment() {
  local venv=$root/.venv python=$root/.venv/bin/python stamp wanted
  if [ ! -x "$python" ]; then
    local interpreter=${PYTHON:-python3.11}
    if ! command -v "$interpreter" > /dev/null; then
      echo "error: there is no $interpreter; set PYTHON to a Python 3.11 or 3.12" >&2
      exit 2
    fi
    "$interpreter" -m venv "$venv"
  fi
  stamp=$venv/.installed${1:+-$1}
  wanted=$(cat "$root/setup.cfg" "$root/tools/constraints.txt" "$root/tools/common.sh" | cksum)
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    local extras=${1:-}
    # A full mmcv from OpenMMLab is accepted; only where there is none, mmcv-lite.
    "$python" -c 'import importlib.metadata as m; m.version("mmcv")' 2>/dev/null ||
      extras=lite${1:+,$1}
    echo "installing into $venv (a few minutes the first time)"
    "$python" -m pip install --quiet --disable-pip-version-check \
      -c "$root/tools/constraints.txt" -e "$root${extras:+[$extras]}"
    # OpenCV's wheels need libGL and glib, which bare machines lack; the headless build
    # of the same version does not, but satisfies no requirement: it goes on top.
    "$python" -c 'import cv2' 2>/dev/null || "$python" -m pip install --quiet \
      --disable-pip-version-check --no-deps --force-reinstall \
      "opencv-contrib-python-headless==$(sed -n 's/^opencv-contrib-python==//p' \
      "$root/tools/constraints.txt")"
    echo "$wanted" > "$stamp"
  fi
  # What is started from here finds this environment by its being active.
  export VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH
}

# launch SCRIPT PROCESSES ARGUMENT...: run a tool under torchrun.
launch() {
  local rendezvous=(--standalone)
  if [ "${NNODES:-1}" -gt 1 ]; then
    rendezvous=(--nnodes "$NNODES" --node_rank "${NODE_RANK:-0}"
                --master_addr "${MASTER_ADDR:?}" --master_port "${PORT:-29500}")
  fi
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
  exec "$(run_python)" "$root/tools/launch.py" "${rendezvous[@]}" \
    --nproc_per_node "$2" "$root/tools/$1" "${@:3}" --launcher pytorch
}

usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

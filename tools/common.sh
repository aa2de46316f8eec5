# Sourced by the other scripts: where the project is, and which Python runs it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# An active environment wins, then the project's own, then PYTHON or python3.
run_python() {
  if [ -n "${VIRTUAL_ENV:-}" ]; then echo "$VIRTUAL_ENV/bin/python"
  elif [ -x "$root/.venv/bin/python" ]; then echo "$root/.venv/bin/python"
  else echo "${PYTHON:-python3}"; fi
}

stop() {
  echo "error: $1" >&2
  exit 2
}

# check_interpreter PYTHON REMEDY: stops if it is none that setup.cfg allows, or cannot
# make environments.
check_interpreter() {
  local oldest newer found major minor wanted
  read -r oldest newer < <(sed -n \
    's/^python_requires *= *>=3\.\([0-9]*\),<3\.\([0-9]*\)$/\1 \2/p' "$root/setup.cfg")
  wanted="$2 a Python 3.$oldest to 3.$((newer - 1))"
  found=$("$1" -c 'import sys; print("%d %d" % sys.version_info[:2])' 2>/dev/null) ||
    stop "$1 does not run; $wanted"
  read -r major minor <<< "$found"
  [ "$major" = 3 ] && [ "$minor" -ge "$oldest" ] && [ "$minor" -lt "$newer" ] ||
    stop "$1 is Python $major.$minor; $wanted"
  "$1" -c 'import ensurepip, venv' 2>/dev/null ||
    stop "$1 has no venv and ensurepip (Debian: python3.$minor-venv); $wanted with them"
}

# install PYTHON [EXTRA]: the project with its pinned set. A full mmcv from OpenMMLab is
# accepted instead of mmcv-lite, which would overwrite it, and the torch that it was
# built for stays. pip has no "or": the requirements are then installed by themselves.
install() {
  local python=$1 extra=${2:-} pins=$root/tools/constraints.txt folder
  local pip=("$python" -m pip install --quiet --disable-pip-version-check)
  if has_full_mmcv "$python"; then
    folder=$(mktemp -d)
    requirements_beside_mmcv "$python" "$extra" > "$folder/requirements.txt" &&
      grep -vE '^torch(vision)?==' "$pins" > "$folder/pins.txt" &&
      "${pip[@]}" -c "$folder/pins.txt" -r "$folder/requirements.txt" &&
      "${pip[@]}" --no-deps -e "$root" || { rm -r "$folder"; return 1; }
    rm -r "$folder"
  else
    "${pip[@]}" -c "$pins" -e "$root${extra:+[$extra]}"
  fi
  # OpenCV's wheels need libGL and glib, which bare machines lack; the headless build
  # of the same version does not, but satisfies no requirement: it goes on top.
  "$python" -c 'import cv2' 2>/dev/null || "${pip[@]}" --no-deps --force-reinstall \
    "opencv-contrib-python-headless==$(sed -n 's/^opencv-contrib-python==//p' "$pins")"
}

has_full_mmcv() {
  "$1" -c 'import importlib.metadata as m; m.version("mmcv")' 2>/dev/null
}

# requirements_beside_mmcv PYTHON EXTRA: those of setup.cfg, with the mmcv, torch and
# torchvision that are there.
requirements_beside_mmcv() {
  "$1" - "$root/setup.cfg" "$2" <<'PYTHON'
import configparser
import importlib.metadata
import sys

config = configparser.ConfigParser()
config.read(sys.argv[1])
lines = config['options']['install_requires'].splitlines()
lines += config['options.extras_require'].get(sys.argv[2], '').splitlines()
for line in lines:
    print(line.replace('mmcv-lite', 'mmcv'))
for name in ('mmcv', 'torch', 'torchvision'):
    try:
        print(f'{name}=={importlib.metadata.version(name)}')
    except importlib.metadata.PackageNotFoundError:
        pass
PYTHON
}

# ensure_environment [EXTRA]: makes .venv if there is none and installs the project with
# its pinned set; does nothing where that has been done. An environment that was never
# finished is made anew.
ensure_environment() {
  local venv=$root/.venv stamp wanted interpreter=${PYTHON:-python3.11}
  stamp=$venv/.installed${1:+-$1}
  wanted=$(cd "$root" && cat setup.cfg tools/constraints.txt tools/common.sh | cksum)
  if ! is_installed; then
    # One installation at a time, where there is flock to see to it.
    exec 9< "$root/setup.cfg"
    flock 9 2>/dev/null || true
  fi
  if ! is_installed; then
    if [ ! -e "$venv" ] || [ -e "$venv/.unfinished" ]; then
      check_interpreter "$interpreter" "set PYTHON to"
      rm -rf "$venv"
      mkdir "$venv"
      touch "$venv/.unfinished"
      "$interpreter" -m venv "$venv"
    else
      check_interpreter "$venv/bin/python" "remove $venv and set PYTHON to"
    fi
    echo "installing into $venv (a few minutes the first time)"
    install "$venv/bin/python" "${1:-}"
    echo "$wanted" > "$stamp"
    rm -f "$venv/.unfinished"
  fi
  exec 9<&-
  # What is started from here finds this environment by its being active.
  export VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH
}

# is_installed: of the environment and the stamp of ensure_environment.
is_installed() {
  [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]
}

# launch SCRIPT PROCESSES ARGUMENT...: run a tool in several processes.
launch() {
  exec "$(run_python)" "$root/tools/$1" "${@:3}" --gpus "$2"
}

# usage: what the comment at the top of the script says.
usage() {
  sed -n -e '2,/^[^#]/{s/^#   /usage: /p;t' -e 's/^# \{0,1\}//p}' "$0"
}

# expect NUMBER ARGUMENT...: answers --help; stops if there are fewer arguments.
expect() {
  case " ${*:2} " in *' --help '*|*' -h '*) usage; exit 0 ;; esac
  [ $# -gt "$1" ] || { usage >&2; exit 2; }
}

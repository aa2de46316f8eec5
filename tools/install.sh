#!/usr/bin/env bash
# Install the project and its pinned set into the active environment, or else into that
# of PYTHON (python3). A full mmcv stays, and so does the torch that it was built for.
#   tools/install.sh [EXTRA]
source "$(dirname "$0")/common.sh"
expect 0 "$@"
python=${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}
python=${python:-${PYTHON:-python3}}
check_interpreter "$python" "activate or set PYTHON to"
install "$python" "${1:-}"

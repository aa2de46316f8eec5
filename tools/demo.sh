#!/usr/bin/env bash
# Install what is missing, make the miniature benchmark, train Vita-CLIP on it, evaluate.
#   tools/demo.sh [--folder work_dirs/demo]
# The same as vita-mm demo in the project's environment. PYTHON chooses the interpreter of
# a new .venv (python3.11).
source "$(dirname "$0")/common.sh"
expect 0 "$@"
ensure_environment
cd "$root"
exec python vita_mm/cli/main.py demo "$@"

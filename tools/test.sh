#!/usr/bin/env bash
# Install what is missing and run the tests.
#   tools/test.sh [arguments of pytest]
# PYTHON chooses the interpreter of a new .venv (python3.11).
source "$(dirname "$0")/common.sh"
expect 0 "$@"
ensure_environment test
cd "$root"
exec python -m pytest "$@"

#!/usr/bin/env bash
# Evaluate on several processes.
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]
source "$(dirname "$0")/common.sh"
expect 3 "$@"
launch test.py "$3" "$1" "$2" "${@:4}"

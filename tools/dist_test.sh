#!/usr/bin/env bash
# Evaluate on several processes.
#   tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/test.py]
source "$(dirname "$0")/common.sh"
[ $# -ge 3 ] || usage
launch test.py "$3" "$1" "$2" "${@:4}"

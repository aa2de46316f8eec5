#!/usr/bin/env bash
# All zero-shot results on several processes.
#   tools/dist_zero_shot.sh CONFIG CHECKPOINT PROCESSES [arguments of tools/zero_shot.py]
source "$(dirname "$0")/common.sh"
expect 3 "$@"
launch zero_shot.py "$3" "$1" "$2" "${@:4}"

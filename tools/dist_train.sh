#!/usr/bin/env bash
# Train on several processes: GPUs with NCCL where there are any, else CPUs with gloo.
#   tools/dist_train.sh CONFIG PROCESSES [arguments of tools/train.py]
# On several machines set NNODES, NODE_RANK, MASTER_ADDR and PORT on each.
source "$(dirname "$0")/common.sh"
expect 2 "$@"
launch train.py "$2" "$1" "${@:3}"

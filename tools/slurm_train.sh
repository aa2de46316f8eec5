#!/usr/bin/env bash
# Train as a Slurm job.
#   tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
# GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (8) and SRUN_ARGS may be set; GPUS_PER_NODE=0
# trains on CPUs, GPUS processes of them.
source "$(dirname "$0")/common.sh"
expect 3 "$@"
gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
resources=(--ntasks="$gpus" --cpus-per-task="${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1)
if [ "$per_node" -gt 0 ]; then
  tasks_per_node=$((gpus < per_node ? gpus : per_node))
  resources+=(--gres="gpu:$tasks_per_node" --ntasks-per-node="$tasks_per_node")
fi
# shellcheck disable=SC2086  # SRUN_ARGS is a list of words
exec srun -p "$1" --job-name="$2" "${resources[@]}" ${SRUN_ARGS:-} \
  "$(run_python)" -u "$root/tools/train.py" "$3" --launcher slurm "${@:4}"

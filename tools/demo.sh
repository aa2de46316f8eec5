#!/usr/bin/env bash
# Install what is missing, make the miniature benchmark, train Vita-CLIP on it, evaluate.
#   tools/demo.sh
# PYTHON chooses the interpreter of a new .venv (python3.11).
source "$(dirname "$0")/common.sh"

# quietly LOG COMMAND...: all that it prints goes to LOG; a line an epoch is shown.
quietly() {
  local log=$1 pattern='Epoch\((train|val)\) +\[([0-9]+)\].* (loss|acc/top1): ([0-9.]+)'
  local shown='' figure status=0
  mkdir -p "$(dirname "$log")"
  echo "   all of its output: $log"
  # Ctrl-C is for the command, whose last words are still to be written.
  "${@:2}" 2>&1 | (trap '' INT; while IFS= read -r line; do
    echo "$line" >&3
    if [[ $line =~ $pattern && $shown != "${BASH_REMATCH[*]:1:2}" ]]; then
      shown=${BASH_REMATCH[*]:1:2}
      figure=${BASH_REMATCH[3]/acc\/top1/top-1}
      echo "   epoch ${BASH_REMATCH[2]}: $figure ${BASH_REMATCH[4]}"
    fi
  done 3> "$log") || status=$?
  [ $status = 0 ] || { tail -n 20 "$log" >&2; exit $status; }
}

expect 0 "$@"
ensure_environment
cd "$root"
processes=$(python -c 'import torch; print(min(2, torch.cuda.device_count()) or 2)')
config=(--cfg-options train_dataloader.batch_size=$((16 / processes)))

echo "1. The miniature benchmark: real video files and a small CLIP, under data/mini"
python tools/make_mini.py
echo "2. Train on the supervised set: tools/dist_train.sh configs/vita_mini.py $processes"
quietly work_dirs/demo/vita_mini.log \
  tools/dist_train.sh configs/vita_mini.py "$processes" --resume "${config[@]}"
echo "3. Train on the motion set: tools/dist_train.sh configs/vita_mini_motion.py $processes"
quietly work_dirs/demo/vita_mini_motion.log \
  tools/dist_train.sh configs/vita_mini_motion.py "$processes" --resume "${config[@]}"
echo "4. Evaluate both beside frozen CLIP"
python benchmarks/demo.py work_dirs/vita_mini work_dirs/vita_mini_motion
echo "5. Zero-shot on classes it has not seen: tools/zero_shot.py … --suite mini"
python tools/zero_shot.py configs/vita_mini.py work_dirs/vita_mini --suite mini --resume
cat <<MESSAGE

Checkpoints and logs: work_dirs/vita_mini, work_dirs/vita_mini_motion, work_dirs/demo
All runs in MLflow:   .venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db
                      then open http://127.0.0.1:5000
Next: on Kinetics, benchmarks/run_ablations.py runs every table; see README.md
MESSAGE

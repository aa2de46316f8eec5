#!/usr/bin/env bash
# Install what is missing, make the miniature benchmark, train Vita-CLIP on it, evaluate.
#   tools/demo.sh
# PYTHON chooses the interpreter of a new .venv (python3.11).
source "$(dirname "$0")/common.sh"
ensure_environment
cd "$root"
processes=$(python -c 'import torch; print(min(2, torch.cuda.device_count()) or 2)')
config=(--cfg-options train_dataloader.batch_size=$((16 / processes)))

echo "1. The miniature benchmark: real video files and a small CLIP, under data/mini"
python tools/make_mini.py
echo "2. Train on the supervised set: tools/dist_train.sh configs/vita_mini.py $processes"
tools/dist_train.sh configs/vita_mini.py "$processes" --resume "${config[@]}"
echo "3. Train on the motion set: tools/dist_train.sh configs/vita_mini_motion.py $processes"
tools/dist_train.sh configs/vita_mini_motion.py "$processes" --resume "${config[@]}"
echo "4. Evaluate both beside frozen CLIP"
python benchmarks/demo.py work_dirs/vita_mini work_dirs/vita_mini_motion
echo "5. Zero-shot on classes it has not seen: tools/zero_shot.py … --suite mini"
python tools/zero_shot.py configs/vita_mini.py work_dirs/vita_mini --suite mini --resume
cat <<MESSAGE

Checkpoints and logs: work_dirs/vita_mini, work_dirs/vita_mini_motion
All runs in MLflow:   .venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db
                      then open http://127.0.0.1:5000
Next: on Kinetics, benchmarks/run_ablations.py runs every table; see README.md
MESSAGE

"""The whole on a miniature benchmark: real video files, a small CLIP, no downloads.

    vita-mm demo

Makes the miniature under data/mini, trains Vita-CLIP on its two sets, and evaluates it
beside frozen CLIP, zero-shot included. What is done is kept: interrupted, it goes on when
it is called again.
"""
import argparse
import re
import signal
import subprocess
import sys
from pathlib import Path

MAIN = Path(__file__).resolve().with_name('main.py')
# Dataset of the miniature to the config that trains on it, and whose role it has.
TRAININGS = {'mini_k400': ('configs/vita_mini.py', 'the supervised set (K400)'),
             'mini_ssv2': ('configs/vita_mini_motion.py', 'the motion set (SSv2)')}
CLIPS_A_STEP = 16
EPOCH = re.compile(r'Epoch\((train|val)\) +\[(\d+)\].* (loss|acc/top1): ([\d.]+)')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--folder', default='work_dirs/demo', type=Path,
                        help='where checkpoints, logs and results go (default: '
                        'work_dirs/demo)')


def main(args: argparse.Namespace) -> int:
    # Late, for they take seconds: --help does not wait for them.
    import torch
    from mmengine.registry import init_default_scope

    from vita_mm.harness.beside import compare, on_its_own_set, read_trained, zero_shot
    from vita_mm.mini import build

    print('1. The miniature benchmark: real video files and a small CLIP, under '
          'data/mini')
    build('data/mini')
    processes = min(2, torch.cuda.device_count()) or 2
    folders = {}
    for number, (dataset, (path, role)) in enumerate(TRAININGS.items(), 2):
        name = Path(path).stem
        folders[dataset] = args.folder / name
        print(f'{number}. Train Vita-CLIP on {role}: vita-mm train {path} '
              f'--gpus {processes}')
        code = quietly([
            sys.executable, str(MAIN), 'train', path, '--resume',
            '--work-dir', str(folders[dataset]), '--gpus', str(processes),
            '--cfg-options', f'train_dataloader.batch_size={CLIPS_A_STEP // processes}'],
            args.folder / f'{name}.log')
        if code:
            return code
    print('4. Evaluate beside frozen CLIP, on these sets, then zero-shot on classes that '
          'it has not seen')
    init_default_scope('mmaction')
    models = {dataset: read_trained('test', path, str(folders[dataset]))
              for dataset, (path, _) in TRAININGS.items()}
    passes = [one for dataset, model in models.items()
              for one in on_its_own_set(dataset, model)]
    passes += zero_shot('mini', models['mini_k400'])
    compare(passes, list(models.values()), str(args.folder / 'evaluations'), 'demo',
            resume=True)
    print(f'''
Checkpoints, logs, results: {args.folder}
All runs in MLflow:         mlflow ui --backend-store-uri sqlite:///mlflow.db
                            then open http://127.0.0.1:5000
Next: predict on a video of yours, or every table of the paper on Kinetics''')
    return 0


def quietly(command: list[str], log: Path) -> int:
    """Run a training: all that it prints goes into a file, a line an epoch is shown.

    If it fails the end of what it printed is shown; if this is interrupted, so is it, and
    its last words are waited for.

    Returns:
        Its exit code.
    """
    from vita_mm.engine.runs import die_with_parent

    log.parent.mkdir(parents=True, exist_ok=True)
    print(f'   all of its output: {log}', flush=True)
    with open(log, 'a', encoding='utf-8') as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors='replace', start_new_session=True,
            preexec_fn=die_with_parent)
        assert process.stdout is not None
        said: list[str] = []
        shown = None
        try:
            for line in process.stdout:
                file.write(line)
                said = [*said[-19:], line]
                found = EPOCH.search(line)
                if found and found.groups()[:2] != shown:
                    shown = found.groups()[:2]
                    print('   epoch {}: {} {}'.format(
                        found[2], found[3].replace('acc/top1', 'top-1'), found[4]),
                        flush=True)
            code = process.wait()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            file.writelines(process.stdout)
            process.wait()
            raise
        finally:
            process.kill()  # nothing, where it has ended
            process.wait()
    if code:
        sys.stderr.writelines(said)
    return code if code >= 0 else 128 - code

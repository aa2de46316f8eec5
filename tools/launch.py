"""torchrun with short errors: what ``vita-mm VERB --gpus N`` starts."""
import runpy
from pathlib import Path

LAUNCH = Path(__file__).resolve().parents[1] / 'vita_mm' / 'cli' / 'launch.py'

if __name__ == '__main__':
    runpy.run_path(str(LAUNCH), run_name='__main__')

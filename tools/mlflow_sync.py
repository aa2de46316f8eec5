"""The same as ``vita-mm sync``."""
import runpy
from pathlib import Path

MAIN = Path(__file__).resolve().parents[1] / 'vita_mm' / 'cli' / 'main.py'

if __name__ == '__main__':
    runpy.run_path(str(MAIN))['run_tool']('sync')

"""The same as ``vita-mm costs --out benchmarks/results/costs.md``."""
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

if __name__ == '__main__':
    main = runpy.run_path(str(HERE.parent / 'vita_mm' / 'cli' / 'main.py'))
    sys.exit(main['run']('costs', ['--out', str(HERE / 'results' / 'costs.md'),
                                   *sys.argv[1:]], 'costs.py'))

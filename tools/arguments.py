"""``vita_mm.cli.arguments`` without importing ``vita_mm``, which takes seconds."""
import runpy
from pathlib import Path

_SOURCE = Path(__file__).resolve().parents[1] / 'vita_mm' / 'cli' / 'arguments.py'
_found = runpy.run_path(str(_SOURCE))
add_common_arguments = _found['add_common_arguments']
add_config_options = _found['add_config_options']
add_variant_arguments = _found['add_variant_arguments']

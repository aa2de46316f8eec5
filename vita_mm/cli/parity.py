"""Compare the model with outputs of the released code, case by case.

    vita-mm parity DIR

DIR holds, for each case, NAME.json (settings), NAME.pth (weights in the released
checkpoint format) and NAME.npz (video, label, logits and, optionally, grad/PARAMETER).
Prints the largest logit error and the largest relative gradient error of each case.
"""
import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('dir', type=Path, help='folder of cases')
    parser.add_argument('--device', default='cpu', help='cpu or cuda')


def main(args: argparse.Namespace) -> int:
    from mmaction.utils import register_all_modules
    from rich.console import Console
    from rich.table import Table

    from vita_mm.analysis.parity import GRADIENT_TOLERANCE, LOGIT_TOLERANCE, check_case
    from vita_mm.errors import UserError
    cases = sorted(path.with_suffix('') for path in args.dir.glob('*.json'))
    if not cases:
        raise UserError(f'{args.dir} holds no case: no NAME.json')
    register_all_modules()
    table = Table('case', 'logit error', 'relative gradient error', 'verdict')
    failed = 0
    for case in cases:
        logit_error, gradient = check_case(case, args.device)
        # A NaN must fail, so ask for "within", not for "beyond".
        within = logit_error <= LOGIT_TOLERANCE and (
            gradient is None or gradient <= GRADIENT_TOLERANCE)
        failed += not within
        table.add_row(case.name, f'{logit_error:.1e}',
                      '-' if gradient is None else f'{gradient:.1e}',
                      'equal' if within else 'DIFFERS')
    Console().print(table)
    print(f'{len(cases) - failed} of {len(cases)} cases within {LOGIT_TOLERANCE:g} '
          f'(logits) and {GRADIENT_TOLERANCE:g} (gradients)')
    return 1 if failed else 0

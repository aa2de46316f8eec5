"""What a user got wrong, said in one sentence."""
import contextlib
import sys


class UserError(Exception):
    """A mistake in the input: what was wrong, where, and what to do about it."""


@contextlib.contextmanager
def cli_errors():
    """End a tool with the sentence of a :class:`UserError` and exit code 2."""
    try:
        yield
    except UserError as error:
        # An error that crosses a DataLoader worker carries that process's traceback
        # in its text; the sentence itself is what follows the last class name.
        sentence = str(error).rsplit(f'{UserError.__name__}: ', 1)[-1].strip()
        print(f'error: {sentence}', file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr, flush=True)
        sys.exit(130)

"""What a user got wrong, or his machine ran out of, said in one sentence."""
import contextlib
import errno
import signal
import sys

# What the machine, not the code, is at fault for, and what to do about it.
REASONS = {
    errno.ENOSPC: 'no space, or no inode, is left on the disk: make room',
    errno.EDQUOT: 'the quota of the disk is used up: make room',
    errno.EROFS: 'the file system is read-only: choose another place',
    errno.EACCES: 'permission is denied: change it, or choose another place',
    errno.EPERM: 'it is not permitted: choose another place',
    errno.EMFILE: 'this process has too many open files: raise `ulimit -n`',
    errno.ENFILE: 'this machine has too many open files: close some',
    errno.EIO: 'the disk has failed to read or write: look at it',
    errno.ESTALE: 'the network disk has lost the file: try again',
    errno.ENAMETOOLONG: 'the name is too long: choose a shorter one'}


AGAIN = 0.05  # seconds until a lost interrupt is repeated


class UserError(Exception):
    """A mistake in the input: what was wrong, where, and what to do about it."""


@contextlib.contextmanager
def cli_errors():
    """End a tool with one sentence and exit code 2, where its user or the machine is at
    fault: on a :class:`UserError`, and on an ``OSError`` of :data:`REASONS`. Interrupts
    are not lost inside, see :func:`lossless_interrupts`."""
    try:
        with lossless_interrupts():
            yield
    except BaseException as error:
        if is_interrupt(error):
            print('interrupted', file=sys.stderr, flush=True)
            sys.exit(130)
        tell_fault(error)
        raise


def is_interrupt(error: BaseException | None) -> bool:
    """Whether an error is an interrupt, or was made of one: libraries catch all that is
    raised while they do something, and raise what they think has happened."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def tell_fault(error: BaseException) -> None:
    """End with a sentence, if it is for the user."""
    if isinstance(error, UserError):
        # An error that crosses a DataLoader worker carries that process's traceback
        # in its text; the sentence itself is what follows the last class name.
        sentence = str(error).rsplit(f'{UserError.__name__}: ', 1)[-1].strip()
        end(sentence)
    if isinstance(error, OSError) and error.errno in REASONS:
        end(describe_os_error(error))


@contextlib.contextmanager
def lossless_interrupts():
    """Have every ``KeyboardInterrupt`` arrive.

    Python drops the exception of a signal's handler that happens to run inside of a
    destructor, the callback of a weak reference or what surrounds a fork, and goes on as
    if nothing had been: it is then raised again, a moment later, by an alarm.
    """
    def repeat(lost) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            hook(lost)

    hook, sys.unraisablehook = sys.unraisablehook, repeat
    alarm = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        signal.signal(signal.SIGALRM, alarm)


def end(sentence: str) -> None:
    print(f'error: {printable(sentence)}', file=sys.stderr, flush=True)
    sys.exit(2)


def describe_os_error(error: OSError) -> str:
    """The file, if it is known, and what is wrong with it."""
    reason = REASONS.get(error.errno or 0, error.strerror or str(error))
    return f'{error.filename or "a file"} cannot be read or written: {reason}'


def printable(text: str) -> str:
    """A text as it may go to a terminal: control characters, which could move the cursor
    or rename the window, are written as escapes; line ends and tabs stay."""
    return ''.join(
        letter if letter.isprintable() or letter in '\n\t'
        else letter.encode('unicode_escape').decode() for letter in str(text))

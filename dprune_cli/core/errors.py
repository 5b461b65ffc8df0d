"""What can go wrong, and the exit code that says so.

Every error a user can cause is a `DpruneError`; its message is one line that says what went wrong,
where (file, key, column) and what to do about it. Anything else that escapes is a bug.
"""


class DpruneError(Exception):
    """Failure at run time: a full disk, a file that cannot be written."""

    exit_code = 1


class UsageError(DpruneError):
    """The command line asks for something that makes no sense."""

    exit_code = 2


class DataError(DpruneError):
    """Input data are bad or missing."""

    exit_code = 3


class BudgetError(DpruneError):
    """A budget or a quota cannot be met."""

    exit_code = 4


class BadSamplesError(DpruneError):
    """The command finished, but more samples failed than `--max-errors` allows."""

    exit_code = 5


class ClosedPipe(DpruneError):  # noqa: N818 - it ends a command quietly, as `head` does
    """Whoever read our standard output has gone."""

    exit_code = 0


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM; not an `Exception`, so that nothing but the command line catches it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number

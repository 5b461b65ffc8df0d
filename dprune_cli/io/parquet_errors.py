"""What Arrow says of a Parquet file that it cannot read, in one line that names the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from dprune_cli.core.errors import DataError


@contextmanager
def reading(source: str) -> Iterator[None]:
    """`DataError` where a file is missing, damaged, or no Parquet file.

    Arrow reads names that are no UTF-8 without a word, so what is read has to pass its `validate(full=True)`.
    A damaged file may ask for any amount of memory, so that too little of it says nothing about this machine.
    """
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{source}: there is no such file") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        raise DataError(f"{source}: this is no Parquet file ({first_line(error)})") from None


def check_names(schema: pa.Schema, source: str) -> None:
    """`DataError` if two columns have the same name."""
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise DataError(f"{source}: several columns are called {twice[0]!r}; rename them")


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")

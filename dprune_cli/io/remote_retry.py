"""Requests to a storage: which failures pass by themselves, when to try again, and what to say in the end."""

from __future__ import annotations

import errno
import os
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from dprune_cli.core.errors import DpruneError

T = TypeVar("T")

TRIES = 5
_FIRST_WAIT = 0.2
# Storage libraries try again by themselves as well; nobody should wait for all of that multiplied.
_PATIENCE = 60.0
_BUSY = (408, 425, 429)
_REFUSED = (401, 403)
# Those of them that Python has no class for.
_BROKEN = (errno.EBUSY, errno.EAGAIN, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# No storage and no network raises these. `KeyError` is none of them: libraries raise it for variables that
# the environment lacks, and for fields that an answer lacks.
_MISTAKES = (ArithmeticError, AssertionError, AttributeError, IndexError, NameError, TypeError)
# Errors of connections by name, because the packages that have them may not be installed.
_CONNECTION = re.compile(
    "Client(Connection|Payload)Error|ConnectionError|ConnectTimeout|ConnectionClosedError|"
    "EndpointConnectionError|HTTPClientError|IncompleteRead(Error)?|ProtocolError|ReadTimeout(Error)?|"
    "ResponseParserError|ResponseStreamingError|TimeoutError|TransportError"
)


@dataclass(frozen=True)
class Problem:
    """Why a request failed.

    Attributes:
        why: in words of ours, since those of the library may hold credentials.
        passing: it may well succeed when it is tried again.
        missing: there is no such object.
    """

    why: str
    passing: bool = False
    missing: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        """What an error of a storage library means, or one of those that it came from."""
        chain = list(_chain(error))
        # The outermost that says something; those inside may be of a part of the request that went well.
        for one in chain:
            if _is_connection(one):
                return cls("the connection failed", passing=True)
            if (status := _status(one)) is not None:
                return cls._of_status(status)
        if any(isinstance(one, OSError) and one.errno in _BROKEN for one in chain):
            return cls("the connection failed", passing=True)
        if any(isinstance(one, FileNotFoundError) for one in chain):
            return cls._of_status(404)
        if any(isinstance(one, PermissionError) for one in chain):
            return cls._of_status(403)
        if any("Credential" in type(one).__name__ for one in chain):
            return cls("there are no usable credentials for it in the environment")
        number = getattr(error, "errno", None)
        return cls(os.strerror(number) if number else f"it failed ({type(error).__name__})")

    @classmethod
    def _of_status(cls, status: int) -> Problem:
        if status in (404, 410):
            return cls("there is no such object", missing=True)
        if status in _REFUSED:
            return cls(f"access is refused ({status}); check the credentials in the environment")
        return cls(f"the storage answers {status}", passing=status >= 500 or status in _BUSY)


def retried(request: Callable[[], T], describe: Callable[[Problem], DpruneError]) -> T:
    """What a request gives; it is tried again, after longer and longer waits, if its failure may pass.

    Args:
        request: only asks the storage, so that its errors are those of the storage.
        describe: the error that ends the command, naming the object.

    Raises:
        DpruneError: by `describe`.
        OSError: a file on this machine cannot be written.
        TypeError, AttributeError, ...: a mistake in a program, ours or that of the library.
    """
    draw = random.Random()
    began = time.monotonic()
    for number in range(1, TRIES + 1):
        try:
            return request()
        # Each library has errors of its own, and this is the border to all of them.
        except Exception as error:
            if isinstance(error, (DpruneError, MemoryError, *_MISTAKES)):
                raise
            if isinstance(error, OSError) and error.errno in _FULL:
                raise
            problem = Problem.of(error)
            if not problem.passing:
                # Not chained: a traceback would show what the library says.
                raise describe(problem) from None
            if number == TRIES or time.monotonic() - began > _PATIENCE:
                raise describe(Problem(f"{problem.why}, also after {number} tries")) from None
        time.sleep(_FIRST_WAIT * 2 ** (number - 1) * draw.uniform(0.5, 1.5))
    raise AssertionError


def in_flight(requests: Iterable[Callable[[], T]], most: int) -> Iterator[T]:
    """What requests give, in their order, with `most` of them under way at once."""
    pool = ThreadPoolExecutor(most, thread_name_prefix="remote")
    waiting: deque[Future[T]] = deque()
    try:
        for request in requests:
            waiting.append(pool.submit(request))
            if len(waiting) >= 2 * most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(8):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error speaks of."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return found if isinstance(found, int) and found >= 400 else None
    for holder in (response, error):
        for name in ("status", "status_code", "code"):
            found = getattr(holder, name, None)
            if isinstance(found, int) and 400 <= found < 600:
                return found
    return None


def _is_connection(error: BaseException) -> bool:
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    return any(_CONNECTION.fullmatch(kind.__name__) for kind in type(error).__mro__)

"""Ctrl-C and SIGTERM: a command ends within two seconds, whatever it is doing.

A signal raises `Interrupted` in the main thread, which unwinds as any error does. But Python runs its
handlers between two instructions of its own, and a single one may be a backward pass of a minute, or the
start of a library that swallows the exception. So a thread, woken by the signal itself, waits for the
command to end, and ends it where that takes too long.

Nothing heavy may be imported here: this runs before everything else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from dprune_cli.core.errors import Interrupted, UsageError
from dprune_cli.core.launch import find_launch
from dprune_cli.core.leftovers import remove_unfinished

SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Seconds that unwinding may take, and then seconds that removing what is unfinished may take.
_GRACE, _REMOVAL = 0.5, 0.7


class Stopping:
    """How this process answers to the signals that end it.

    Attributes:
        number: the signal that stopped the command; None while none did.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._over = False
        self._leaving = threading.Lock()

    def listen(self) -> None:
        """Answer to signals from now on; a shell has its background jobs ignore Ctrl-C, and they go on so."""
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        ear, mouth = os.pipe()
        os.set_blocking(mouth, False)
        signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(ear,), name="stopping", daemon=True).start()
        sys.unraisablehook = self._see_swallowed
        for number in heard:
            signal.signal(number, self._interrupt)

    def _see_swallowed(self, what: sys.UnraisableHookArgs) -> None:
        """Python swallows what is raised while an object is deleted; of an interruption it may not."""
        if issubclass(what.exc_type, Interrupted):
            remove_unfinished()
            self.leave()
        sys.__unraisablehook__(what)

    def end(self) -> None:
        """The command is over: what is left of the process is not to be interrupted, only not to last."""
        self._over = True

    def leave(self) -> NoReturn:
        """End the process at once; taking Python and torch apart first would last up to a second."""
        # Whoever comes second of the two threads waits for the first to end the process.
        self._leaving.acquire()
        with suppress(OSError, UsageError):
            launch = find_launch(os.environ)
            if launch is None or launch.rank == 0:
                # Over the `^C` of the terminal, or a bar of a thread that is stuck.
                drawn = os.isatty(2) and os.environ.get("TERM") not in ("dumb", "unknown")
                # Not by way of `sys.stderr`, which the other thread may hold.
                os.write(2, (b"\r\x1b[K" if drawn else b"") + b"dprune: interrupted\n")
        os._exit(128 + (self.number or 0))

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        # A second Ctrl-C must not break off the tidying that the first one began.
        if self.number is None and not self._over:
            self.number = number
            raise Interrupted(number)

    def _watch(self, ear: int) -> NoReturn:
        number = 0
        while number not in SIGNALS:
            number = os.read(ear, 1)[0]
        time.sleep(_GRACE)
        self.number = self.number or number
        removal = threading.Thread(target=remove_unfinished, name="removal", daemon=True)
        removal.start()
        removal.join(_REMOVAL)
        self.leave()

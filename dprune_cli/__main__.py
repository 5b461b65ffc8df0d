"""What `dprune` and `python -m dprune_cli` start."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from dprune_cli.cli.stopping import Stopping
from dprune_cli.core.leftovers import remove_unfinished


def main() -> NoReturn:
    """Run the command line; never returns."""
    _open_missing_streams()
    stopping = Stopping()
    try:
        stopping.listen()
        # Imported when signals are answered already, because it takes a tenth of a second.
        from dprune_cli.cli.app import run_process

        code = run_process(sys.argv[1:])
        stopping.end()
    except BaseException:
        # Interrupted, or what a library made of it while it was imported or called.
        if stopping.number is None:
            raise
    if stopping.number is not None:
        remove_unfinished()
        stopping.leave()
    sys.exit(code)


def _open_missing_streams() -> None:
    """Give a process that was started without standard streams (`>&-`) ones that lead nowhere."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # The lowest free descriptor is the one that is missing, so no other file can get it.
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115


if __name__ == "__main__":
    main()

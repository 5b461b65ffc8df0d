"""What an interrupted command goes on from: a folder beside its output, there while the work is not done.

It is called `.NAME.resume`. It is locked while its command runs, and says of what options and data it is the
state, so that no other work goes on from it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dprune_cli.core import ranks
from dprune_cli.core.errors import UsageError
from dprune_cli.core.leftovers import unfinished
from dprune_cli.io.outputs import STDOUT, explained, part_path
from dprune_cli.io.replace import lock
from dprune_cli.io.together import put_in_place

_WORK = "work.json"
STATE = ".pt"


@contextmanager
def resume_folder(output: str) -> Iterator[Path | None]:
    """The folder for the state of the work on an output; None for standard output.

    It goes when the block ends well, and if it holds no state.

    Raises:
        UsageError: another command is at work on the output.
        DpruneError: nothing can be written beside it.
    """
    if output == STDOUT:
        yield None
        return
    folder = part_path(output).with_suffix(".resume")
    with ExitStack() as stack:
        if ranks.is_main():
            stack.enter_context(_locked(folder, output))
        yield folder


@contextmanager
def _locked(folder: Path, output: str) -> Iterator[None]:
    def remove() -> None:
        if folder.is_dir() and not any(folder.glob(f"*{STATE}")):
            shutil.rmtree(folder, ignore_errors=True)

    def drop() -> None:
        # First in one step: half a state would seem to be that of other work.
        with explained(output):
            os.rename(folder, done)
        shutil.rmtree(done, ignore_errors=True)

    done = folder.with_suffix(".done")
    with ExitStack() as held:
        # Not the work itself: what fails there is about other files.
        with explained(output):
            folder.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock(folder, output, create=lambda: folder.mkdir(exist_ok=True)))
        held.enter_context(unfinished(remove))
        shutil.rmtree(done, ignore_errors=True)
        yield
        # After the outputs that were made from it.
        put_in_place(held, None, drop, at_once=False)


def claim(folder: Path, work: Mapping[str, Any], *, force: bool) -> None:
    """Note of what work the folder is the state, or check that it is of the same.

    Args:
        folder: of `resume_folder`.
        work: options and data that the results depend on, as JSON can hold them.
        force: begin anew where it is the state of other work.

    Raises:
        UsageError: it is, without `force`.
        DpruneError: it cannot be written.
    """
    note = folder / _WORK
    wanted = json.dumps(work, sort_keys=True)
    states = list(folder.glob(f"*{STATE}"))
    if states and (not note.is_file() or note.read_text("utf-8") != wanted):
        if not force:
            raise UsageError(
                f"{folder} holds unfinished work with other options or data; repeat those to finish it, or "
                "give --force to start anew"
            )
        with explained(folder):
            for entry in folder.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    with explained(note):
        note.write_text(wanted, "utf-8")

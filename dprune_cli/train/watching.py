"""Which recorders watch a pass, and which of them can share one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dprune_cli.core import ranks
from dprune_cli.train.hooks import Recorder
from dprune_cli.train.observe import BatchObs, Field, Phase


def watching(recorders: Iterable[Recorder], phase: Phase, epoch: int) -> list[Recorder]:
    """The recorders that watch this phase of this epoch."""
    return [one for one in recorders if one.phase is phase and (one.epochs is None or epoch in one.epochs)]


def show(recorders: Iterable[Recorder], obs: BatchObs) -> None:
    """Let recorders look at a batch; those that write parts of their own do so in every process."""
    for recorder in recorders:
        if recorder.everywhere or ranks.is_main():
            recorder.update(obs)


def wanted_fields(recorders: Iterable[Recorder]) -> frozenset[Field]:
    """What their observations must hold."""
    return frozenset[Field]().union(*(one.fields for one in recorders))


def shared_passes(recorders: Iterable[Recorder]) -> Iterator[list[Recorder]]:
    """Groups of recorders of clean passes that one pass can serve.

    Gradients are taken a few samples at a time, which would change the last bits of what the others see.
    """
    groups: dict[bool, list[Recorder]] = {False: [], True: []}
    for one in recorders:
        groups[Field.GRAD_NORM in one.fields].append(one)
    yield from filter(None, groups.values())

"""Running a function in several processes that have met, as a launcher would start them."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from pathlib import Path

from dprune_cli.core import ranks
from dprune_cli.core.launch import find_launch

_SECONDS = 100


def run_together(size, function, *arguments):
    """What the function returns in each of `size` processes, by rank; fails if one of them fails.

    The function has to stand at the head of a module.
    """
    return _start(size, _run_function, function, *arguments)


def _start(size, target, *arguments):
    """The processes come of one that has imported torch already, which makes them quick to start."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["many", "torch.distributed", "dprune_cli.stages.train"])
    port = _free_port()
    pipes, processes = [], []
    for rank in range(size):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(theirs, rank, size, port, target, arguments))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        found = [_receive(pipe) for pipe in pipes]
    finally:
        for process in processes:
            process.terminate()
            process.join()
    failed = [said for ok, said in found if not ok]
    assert not failed, "\n".join(failed)
    return [value for _, value in found]


def call_together(size, *arguments):
    """How a command ends in each of `size` processes, by rank."""
    return _start(size, _run_command, *map(str, arguments))


def _receive(pipe):
    if not pipe.poll(_SECONDS):
        return False, f"nothing came within {_SECONDS} seconds"
    try:
        return pipe.recv()
    except EOFError:
        return False, "the process ended without a word"


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch_variables(rank, size, port):
    """What `torchrun` sets on a single machine."""
    return {
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _run(pipe, rank, size, port, target, arguments):
    import torch

    torch.set_num_threads(1)
    os.environ.update(launch_variables(rank, size, port) if size > 1 else {})
    try:
        pipe.send((True, target(*arguments)))
    except BaseException:
        pipe.send((False, f"process {rank}: {traceback.format_exc()}"))


def _run_function(function, *arguments):
    if (launch := find_launch(os.environ)) is not None:
        ranks.meet(launch)
    found = function(*arguments)
    # Nobody may leave while others still talk to the one who keeps the meeting place.
    ranks.wait()
    ranks.leave()
    return found


def _run_command(*arguments):
    from commands import call

    # As paths, for those are taken as one word each.
    return call(*map(Path, arguments))

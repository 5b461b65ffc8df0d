"""What a launcher of many processes says in the environment: `torchrun`, or Slurm's `srun`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dprune_cli.core.errors import UsageError

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Only srun sets the first of these; a batch script has the others too, and is one process.
_SLURM = ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST", "SLURM_JOB_ID")
# Steps of one job may run at once on one machine.
_FIRST_PORT, _PORTS, _STEPS = 20_000, 40_000, 97


@dataclass(frozen=True)
class Launch:
    """One process of several that run the same command.

    Attributes:
        rank: its number, 0 ... size - 1.
        size: how many there are.
        local_rank, local_size: the same on its machine.
        address, port: where process 0 is met.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int


def find_launch(environ: Mapping[str, str]) -> Launch | None:
    """What a launcher set; None if there is none, or if it started a single process.

    Raises:
        UsageError: some of its variables are there and others missing or no numbers.

    >>> find_launch({}) is None
    True
    """
    if environ.get("WORLD_SIZE") == "1":
        return None
    if "RANK" in environ and "WORLD_SIZE" in environ:
        launch = _from_torchrun(environ)
    elif environ.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        launch = _from_slurm(environ)
    else:
        return None
    return launch if launch.size > 1 else None


def _from_torchrun(environ: Mapping[str, str]) -> Launch:
    rank, size, local_rank, local_size, address, port = _values(environ, _TORCHRUN, "torchrun")
    return _launch(rank, size, local_rank, local_size, address, port)


def _from_slurm(environ: Mapping[str, str]) -> Launch:
    size, rank, local_rank, nodes, job = _values(environ, _SLURM, "srun")
    # Tasks a machine differ where they do not divide evenly: "2(x3),1".
    local = re.match(r"\d+", environ.get("SLURM_STEP_TASKS_PER_NODE", size))
    address = environ.get("MASTER_ADDR", first_host(nodes))
    step = _number(environ.get("SLURM_STEP_ID", "0"))
    port = environ.get("MASTER_PORT", str(_FIRST_PORT + (_number(job) * _STEPS + step) % _PORTS))
    return _launch(rank, size, local_rank, local[0] if local else size, address, port)


def _values(environ: Mapping[str, str], names: tuple[str, ...], launcher: str) -> list[str]:
    for name in names:
        if name not in environ:
            raise UsageError(f"{names[0]} is set and {name} is not; start the processes with {launcher}")
    return [environ[name] for name in names]


def _launch(rank: str, size: str, local_rank: str, local_size: str, address: str, port: str) -> Launch:
    counts = (_number(rank), _number(size), _number(local_rank), _number(local_size))
    return Launch(*counts, address, _number(port))


def _number(value: str) -> int:
    if not value.isdecimal():
        raise UsageError(f"the launcher's variables hold {value!r} where a number should be")
    return int(value)


def first_host(nodes: str) -> str:
    """The first machine of a node list of Slurm.

    >>> first_host("gpu[07-09,12]"), first_host("a1,b[2-3]"), first_host("rack[1-2]n[5,8]")
    ('gpu07', 'a1', 'rack1n5')
    """
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", first[0] if first else nodes)

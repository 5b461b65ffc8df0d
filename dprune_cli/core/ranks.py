"""The processes of one command: which of them this is, and what they tell each other.

Every function means the same in a single process, where it costs nothing and imports nothing: there rank 0
of 1 is alone. Several processes run the same command and take the same decisions from the same facts; what
only one of them can know (its own rows, what it wrote) is gathered, so that all know it. Whoever calls
something that gathers must see to it that all processes call it, equally often and in the same order.
Objects travel pickled: the processes of one command trust one another, and nothing else is ever unpickled.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from dprune_cli.core.errors import DpruneError, UsageError
from dprune_cli.core.launch import Launch, find_launch

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

# Longer than any step of a single process that the others wait for.
_PATIENCE = timedelta(days=2)
_SAID = "dprune said "
_MOMENT = 1.0


def _group() -> Any:
    """`torch.distributed` if the processes have met, else None; torch is never imported for this."""
    module = sys.modules.get("torch.distributed")
    return module if module is not None and module.is_available() and module.is_initialized() else None


def rank() -> int:
    """The number of this process, 0 ... `size()` - 1."""
    group = _group()
    return 0 if group is None else group.get_rank()


def size() -> int:
    """How many processes run this command."""
    group = _group()
    return 1 if group is None else group.get_world_size()


def is_main() -> bool:
    """Whether this is the process that speaks and writes for all."""
    return rank() == 0


def here() -> tuple[int, int]:
    """The number of this process among those of its machine, and how many these are."""
    launch = find_launch(os.environ) if size() > 1 else None
    return (0, 1) if launch is None else (launch.local_rank, launch.local_size)


def meet(launch: Launch) -> None:
    """Wait for the other processes; gloo carries what is on CPUs and NCCL what is on GPUs.

    Raises:
        DpruneError: they did not come together.
    """
    # Whoever leaves first would have the others print the stacks of their sockets.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    import torch
    import torch.distributed as dist

    on_gpu = torch.cuda.is_available() and dist.is_nccl_available()
    if on_gpu:
        torch.cuda.set_device(launch.local_rank % torch.cuda.device_count())
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            init_method=f"tcp://{launch.address}:{launch.port}" if not _has_store() else "env://",
            rank=launch.rank,
            world_size=launch.size,
            timeout=_PATIENCE,
        )
    except (RuntimeError, ValueError) as error:
        where = f"{launch.address}:{launch.port}"
        raise DpruneError(
            f"process {launch.rank} of {launch.size} did not reach the others at {where} ({_line(error)})"
        ) from error


def _has_store() -> bool:
    """Whether the launcher itself holds the place where the processes meet, as torchrun does."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def leave() -> None:
    """Take leave of the others, who may still be at work."""
    if (group := _group()) is not None:
        group.destroy_process_group()


def gather(value: T) -> list[T]:
    """The values of all processes, by rank, in every one of them."""
    group = _group()
    if group is None:
        return [value]
    values: list[Any] = [None] * size()
    group.all_gather_object(values, value)
    return values


def broadcast(value: T) -> T:
    """What process 0 has, in every process."""
    group = _group()
    if group is None:
        return value
    values = [value]
    group.broadcast_object_list(values, src=0)
    return values[0]


def gather_tensors(values: Tensor) -> list[Tensor]:
    """Tensors of one shape and type of all processes, by rank."""
    group = _group()
    if group is None:
        return [values]
    found = [values.new_empty(values.shape) for _ in range(size())]
    group.all_gather(found, values.contiguous())
    return found


def wait() -> None:
    """Wait until every process is here."""
    if (group := _group()) is not None:
        group.barrier()


def own_range(count: int) -> slice:
    """Which of `count` things in order are this process's: one range of them, so that it opens few shards.

    The ranges of all processes are disjoint, cover everything, and differ in length by at most one.

    >>> own_range(3)
    slice(0, 3, None)
    """
    return slice(count * rank() // size(), count * (rank() + 1) // size())


def refuse_stdin(what: str) -> None:
    """`UsageError` if several processes were to read one standard input."""
    if size() > 1:
        raise UsageError(f"{what} cannot come from standard input with {size()} processes; name a file")


def should_say(line: str, *, own: bool = True) -> bool:
    """Whether this process is the one to say the line that ends the command.

    Where all end with the same line process 0 says it. A process that fails alone speaks for itself.

    Args:
        line: what is to be said.
        own: False if it says no more than that another process failed, which is said only if none of
            the others told why.
    """
    group = _group()
    if group is None:
        return True
    store = group.distributed_c10d._get_default_store()
    others = [one for one in range(size()) if one != rank()]
    try:
        last = time.monotonic() + _MOMENT
        if not own:
            return not any(_hear(store, one, last) for one in others)
        store.set(f"{_SAID}{rank()}", line)
        if not is_main():
            return _hear(store, 0, last) != line
        # The store is often this process's own: those that ask it what was said should have the time to.
        for one in others:
            _hear(store, one, last)
        return True
    except RuntimeError:
        # Whoever kept the store has gone, and said why.
        return is_main()


def _hear(store: Any, one: int, last: float) -> str | None:
    """The line that a process says until the moment `last`."""
    # Not the store's own wait, which complains on standard error.
    while not store.check([f"{_SAID}{one}"]):
        if time.monotonic() > last:
            return None
        time.sleep(0.01)
    return store.get(f"{_SAID}{one}").decode()


def is_lost_peer(error: BaseException) -> bool:
    """Whether an error says that another process has gone."""
    group = _group()
    if group is None:
        return False
    return isinstance(error, group.DistError) or "gloo" in str(error).lower()


def _line(error: BaseException) -> str:
    return str(error).splitlines()[0]

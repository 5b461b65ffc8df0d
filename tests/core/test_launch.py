from __future__ import annotations

import pytest

from dprune_cli.core import ranks
from dprune_cli.core.errors import UsageError
from dprune_cli.core.launch import Launch, find_launch

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}
SLURM = {
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x3)",
    "SLURM_STEP_NODELIST": "gpu[07-09]",
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_ID": "3",
}


def test_what_torchrun_sets():
    assert find_launch(TORCHRUN) == Launch(5, 8, 1, 4, "node0", 29500)


def test_what_srun_sets():
    assert find_launch(SLURM) == Launch(5, 6, 1, 2, "gpu07", 20_000 + (123456 * 97 + 3) % 40_000)
    there = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"}
    assert find_launch({**SLURM, **there}) == Launch(5, 6, 1, 2, "10.0.0.1", 1234)


def test_torchrun_inside_a_step_of_slurm_wins():
    assert find_launch({**SLURM, **TORCHRUN}) == find_launch(TORCHRUN)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"PATH": "/bin"},
        {**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"},
        {**SLURM, "SLURM_STEP_NUM_TASKS": "1"},
        # A batch script has the job's variables and is one process.
        {"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7", "SLURM_NODELIST": "a1"},
        # Some launchers and shells leave a lone variable behind.
        {"RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"WORLD_SIZE": "4"},
    ],
)
def test_a_single_process_is_no_launch(environ):
    assert find_launch(environ) is None


def test_half_a_launch_is_refused():
    lacking = {name: value for name, value in TORCHRUN.items() if name != "MASTER_PORT"}
    with pytest.raises(UsageError, match="RANK is set and MASTER_PORT is not"):
        find_launch(lacking)
    with pytest.raises(UsageError, match="hold 'x' where a number should be"):
        find_launch({**TORCHRUN, "LOCAL_RANK": "x"})


def test_a_single_process_is_all_there_is():
    assert (ranks.rank(), ranks.size(), ranks.here(), ranks.is_main()) == (0, 1, (0, 1), True)
    assert ranks.gather("x") == ["x"] and ranks.broadcast("x") == "x"
    assert ranks.own_range(7) == slice(0, 7) and ranks.should_say("x")
    assert not ranks.is_lost_peer(RuntimeError("gloo"))
    ranks.wait()
    ranks.refuse_stdin("DATA")

"""Kill -9 at six moments of `dprune prune`: the next start finishes, with what nobody can tell apart."""

from __future__ import annotations

import random
import signal
import time

import pytest
from launcher import contents

LINE = (
    "prune IMAGES --keep 0.5 --method drop:score=forgetting -o small --model tiny --device cpu --epochs 30 "
    "--image-size 8 --report --card --seed 3"
)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["image_folder", "shard_folder"])
def test_kill_at_six_moments(tmp_path, launcher, form, request):
    data = request.getfixturevalue(form)
    words = [str(data) if word == "IMAGES" else word for word in LINE.split()]

    def options(name):
        (tmp_path / name).mkdir(exist_ok=True)
        return {"folder": tmp_path / name, "XDG_CACHE_HOME": str(tmp_path / f"{name}-cache")}

    whole = launcher.run(*words, **options("whole"))
    assert whole.code == 0, whole.err
    expected, stored = contents(tmp_path / "whole"), contents(tmp_path / "whole-cache")
    rng = random.Random(form)
    went_on = 0
    for number in range(6):
        where = options(str(number))
        launcher.start(*words, **where)
        time.sleep(whole.seconds * (number + rng.random()) / 6)
        launcher.signal(signal.SIGKILL)
        killed = launcher.end()
        assert killed.code in (-9, 0), killed.err
        went_on += bool([*tmp_path.glob(f"{number}-cache/dprune/prune/.*.resume/*.pt")])
        again = launcher.run(*words, **where)
        if again.code == 2 and "exists already" in again.err:
            assert killed.code == 0 or "small/kept.parquet" in contents(where["folder"])
        else:
            assert again.code == 0, again.err
        assert contents(where["folder"]) == expected, number
        assert contents(tmp_path / f"{number}-cache") == stored, number
    assert went_on, "no moment was in the training"

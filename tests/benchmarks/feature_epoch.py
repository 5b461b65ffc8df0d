"""An epoch of a small network on recorded features, all of them and the tenth that `rcap` chooses.

Of the size of ImageNet by default, in memory as `train --from-features` holds them. An epoch must take
seconds.

    python tests/benchmarks/feature_epoch.py [--samples 1280000] [--width 384] [--batch-size 1024]
"""

from __future__ import annotations

import argparse
import resource
import statistics

import numpy as np
import torch

from dprune_cli.core.config import TrainConfig
from dprune_cli.core.progress import Silent
from dprune_cli.data.vectors import Vectors
from dprune_cli.models.heads import build_mlp
from dprune_cli.samplers.base import SAMPLERS
from dprune_cli.train.labelled import Labelled
from dprune_cli.train.loop import Fit
from dprune_cli.train.observe import RunInfo


def main() -> None:
    """One full epoch and three sampled ones, the first of which is not counted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=1_280_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--head", default="512,256")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--keep", type=float, default=0.1)
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rng = np.random.default_rng(0)
    features = rng.standard_normal((given.samples, given.width), np.float32)
    label = torch.from_numpy(rng.integers(0, given.classes, given.samples))
    rows = np.arange(given.samples)
    data = Labelled(Vectors(features, rows, given.samples, device), rows, label)
    keys = [str(row) for row in range(given.samples)]
    for name, epochs in ((None, 1), ("rcap", 4)):
        config = TrainConfig(epochs=epochs, batch_size=given.batch_size)
        info = RunInfo(keys, label.to(device), given.classes, epochs, device=device)
        model = build_mlp(f"mlp:{given.head}", given.width, given.classes, seed=0).to(device)
        fit = Fit(
            model=model,
            data=data,
            config=config,
            info=info,
            progress=Silent(),
            sampler=SAMPLERS.make(name) if name else None,
            visits=round(given.keep * given.samples),
        )
        history = fit.train()[1:] or fit.history
        seconds = statistics.median(row["seconds"] for row in history)
        plan = statistics.median(row["plan_seconds"] for row in history)
        print(f"{name or 'all'}: {history[-1]['visited']} visits in {seconds:.2f} s, planning {plan:.3f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"peak memory {peak:.2f} GB, of which the features are {features.nbytes / 1024**3:.2f} GB")


if __name__ == "__main__":
    main()

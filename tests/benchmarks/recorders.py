"""Training with all trajectory scores recorded at once against the same training alone, in one run.

Budget: <= 1.05x wall time. The two trainings take turns, epoch by epoch, on random 32 x 32 images.

    python tests/benchmarks/recorders.py [SAMPLES] [MODEL]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dprune_cli.core.config import DataConfig, TrainConfig
from dprune_cli.core.progress import Silent
from dprune_cli.scores.base import SCORES, Score
from dprune_cli.stages import inputs
from dprune_cli.stages.plan import make_scores, plan_runs
from dprune_cli.train.loop import Fit
from dprune_cli.train.observe import Field

# The default schedule of `score`: the clean passes that some scores need are part of its cost.
EPOCHS = 30


def write_images(folder: Path, count: int) -> None:
    """Random pictures of ten classes."""
    rng = np.random.default_rng(0)
    for row in range(count):
        place = folder / f"class{row % 10}"
        place.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(place / f"{row}.bmp")


def goes_by_logits(score: Score) -> bool:
    """Whether a recorded trajectory is enough for it: the trajectory scores, and random."""
    watched = score.recorders(EPOCHS).values()
    return not score.sequel(EPOCHS) and all(one.fields <= {Field.LOGITS} for one in watched)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4096
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = TrainConfig(epochs=EPOCHS, model=sys.argv[2] if len(sys.argv) > 2 else None)
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), count)
        samples = inputs.load_samples([folder], DataConfig())
        samples, images = inputs.load_images(samples, DataConfig(), device, Silent())
    plan = plan_runs([one for one in make_scores(SCORES.names()) if goes_by_logits(one)], EPOCHS, None)[0]
    fits = []
    for recorders in ((), plan.recorders):
        model = inputs.make_model(config, 10, images.size, 0, device, Silent())
        info = inputs.run_info(samples, config, EPOCHS, device)
        data = inputs.labelled(samples, images)
        fit = Fit(model=model, data=data, config=config, info=info, progress=Silent(), recorders=recorders)
        for recorder in recorders:
            recorder.start(info)
        fits.append(fit)
    bare, watched = fits
    for epoch in range(1, EPOCHS + 1):
        for fit in fits:
            fit.train_epoch(epoch)
    # The first epoch warms up; the clean passes that some scores need once a run are part of the cost.
    pairs = list(zip(bare.history[1:], watched.history[1:], strict=True))
    epochs = statistics.median(two["seconds"] / one["seconds"] for one, two in pairs)
    whole = sum(two["seconds"] for _, two in pairs) / sum(one["seconds"] for one, _ in pairs)
    names = ", ".join(score.info.name for score in plan.needs)
    print(f"{count} samples, {EPOCHS} epochs, {names}")
    print(f"bare epoch {statistics.median(one['seconds'] for one, _ in pairs):.2f} s")
    print(f"median epoch with all scores {epochs:.3f}x; whole run with clean passes {whole:.3f}x (<= 1.05x)")


if __name__ == "__main__":
    main()

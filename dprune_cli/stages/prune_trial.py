"""`dprune prune --dry-run`: how long it would take and how much memory, from a few batches."""

from __future__ import annotations

import dataclasses
import resource
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from dprune_cli.core.progress import Progress, Silent
from dprune_cli.data.choose import stored_size
from dprune_cli.io.keys import hash_keys
from dprune_cli.io.samples import Samples
from dprune_cli.stages import inputs
from dprune_cli.stages.prune_job import Job
from dprune_cli.train.loop import Fit

# Steps that are timed, after an epoch that warms up.
_STEPS = 4
# What a clean pass over a sample takes, of a training visit: forward, without backward.
_CLEAN = 0.4


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What pruning would take.

    Attributes:
        known: scores of an earlier command would be taken, and nothing would be trained.
        decode: seconds to decode all images once.
        train: seconds of all trainings and predictions.
        memory: bytes at the peak.
        output: bytes of the samples that would be kept, if they are as large as the others.
    """

    known: bool
    decode: float
    train: float
    memory: int
    output: int

    @classmethod
    def of_known(cls, job: Job) -> Estimate:
        """Where the scores are known already."""
        return cls(known=True, decode=0, train=0, memory=_memory_used(), output=_output(job))

    def as_json(self) -> dict[str, Any]:
        """As users read it with `--json`."""
        return dataclasses.asdict(self)


def estimate(job: Job, progress: Progress) -> Estimate:
    """Decode and train on a few batches, and reckon what all of them take.

    Raises:
        DataError: none of the samples that were tried can be used.
    """
    count = int(job.samples.ok().sum())
    training = dataclasses.replace(job.settings.training, epochs=2)
    some = _some(job.samples, _STEPS * training.batch_size)
    began = time.perf_counter()
    some, images = inputs.load_images(
        some, job.settings.reading, job.device, Silent(), job.settings.image_size
    )
    decode = (time.perf_counter() - began) / int(some.ok().sum())
    model = inputs.make_model(training, len(some.classes), images.size, 0, job.device, Silent())
    fit = Fit(
        model=model,
        data=inputs.labelled(some, images),
        config=training,
        info=inputs.run_info(some, training, training.epochs, job.device),
        progress=progress,
    )
    visit = min(row["visit_seconds"] / row["visited"] for row in fit.train())
    visits = sum(one.epochs * int((job.samples.ok() & ~one.held).sum()) for one in job.trainings)
    clean = count + job.settings.training.epochs * job.measured
    return Estimate(
        known=False,
        decode=decode * count,
        train=visit * (visits + _CLEAN * clean),
        memory=_memory_used() + 3 * count * stored_size(job.settings.image_size) ** 2,
        output=_output(job),
    )


def _some(samples: Samples, count: int) -> Samples:
    """As many usable samples as that, from all over the data."""
    rows = np.flatnonzero(samples.ok())
    order = np.argsort(hash_keys([samples.keys[row] for row in rows]), kind="stable")
    return samples.take(np.sort(rows[order[:count]]))


def _memory_used() -> int:
    # In kilobytes, on Linux.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _output(job: Job) -> int:
    samples = job.samples
    sizes = np.where(samples.size < 0, samples.image_size, samples.size)[samples.ok()]
    return round(float(sizes.mean()) * job.kept)

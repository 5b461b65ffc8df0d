"""Scores of earlier `dprune prune` commands, kept for the same data and options with another budget.

They are in the folder of this user for what may be made again, under a digest of all they depend on: the
data with the size and time of every file, the options of the trainings, this version of dprune.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from dprune_cli import __version__
from dprune_cli.core.errors import DataError, DpruneError, UsageError
from dprune_cli.core.progress import Progress
from dprune_cli.io.outputs import whole_folder
from dprune_cli.io.remote import RemotePath
from dprune_cli.io.remote_cache import cache_home
from dprune_cli.io.replace import lock
from dprune_cli.io.resume_dir import resume_folder
from dprune_cli.io.samples import Samples
from dprune_cli.io.sources import STDIN
from dprune_cli.io.together import alone
from dprune_cli.models.build import is_of_the_user
from dprune_cli.stages.prune_job import Job
from dprune_cli.stages.prune_scores import Scored, train_scores
from dprune_cli.stages.run_folder import settings

# Some megabytes each.
_MOST = 20
# Seconds that the state of a killed training waits for somebody to go on with it.
_PATIENCE = 7 * 24 * 3600.0
# Where less is free, nothing is kept: a full disk would end the training that is to be kept.
_ROOM = 10**9


def find_scores(job: Job, progress: Progress) -> Scored:
    """The scores of the job's samples: those of an earlier command, or new ones.

    An interrupted training goes on where it stopped.

    Raises:
        DataError: see `train_scores`.
    """
    place = _place(job)
    if place is None:
        return train_scores(job, {}, progress)
    if (known := _read(place, job, progress)) is not None:
        progress.note(f"scores of an earlier command, with the same data and options: {place}")
        return known
    # They stay whatever happens to the outputs.
    with alone(), ExitStack() as held:
        try:
            states = {
                one.name: held.enter_context(resume_folder(f"{place}-{one.name}")) for one in job.trainings
            }
        except UsageError:
            progress.note("another command makes the same scores at this time; they are made here as well")
            held.close()
            return train_scores(job, {}, progress)
        found = train_scores(job, states, progress)
        with whole_folder(place, force=True) as part:
            found.write(part)
    _forget_old(place.parent)
    return found


def is_known(job: Job) -> bool:
    """Whether an earlier command has made the scores of the job's samples."""
    place = _place(job)
    return place is not None and place.is_dir()


def _place(job: Job) -> Path | None:
    """The folder of the scores of this job; None if they are not to be kept, or cannot be."""
    work = _work(job) if job.request.reuse else None
    if work is None:
        return None
    try:
        home = cache_home() / "prune"
    except DpruneError:
        return None
    if shutil.disk_usage(home.parent).free < _ROOM:
        return None
    return home / hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:32]


def _work(job: Job) -> dict[str, Any] | None:
    """All that the scores depend on; None if some of it can change without a trace."""
    if STDIN in job.request.data or is_of_the_user(str(job.settings.training.model)):
        return None
    validation = None if job.validation is None else _stamp(job.validation)
    files = _stamp(job.samples)
    if files is None or (job.validation is not None and validation is None):
        return None
    return {
        "dprune": __version__,
        "data": [list(job.request.data), files],
        "val": [list(job.request.val), validation],
        "trainings": [list(one.request.methods) for one in job.trainings],
        "runs": job.request.query.runs,
        "training": settings(job.settings.training),
        "image_size": job.settings.image_size,
        "held": hashlib.sha256(job.held.tobytes()).hexdigest(),
    }


def _stamp(samples: Samples) -> str | None:
    """A digest of the rows, and of the size and time of every file that they are in."""
    digest = hashlib.sha256(samples.digest().encode())
    named = [samples.classes, samples.groups, samples.reading, samples.table().meta.fingerprint]
    digest.update(json.dumps(named).encode())
    for name in samples.shards:
        path = samples.base / name
        if isinstance(path, RemotePath):
            return None
        try:
            found = os.stat(path)
        except OSError:
            continue  # its samples have a status that says so
        digest.update(f"{name}\n{found.st_size} {found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _read(place: Path, job: Job, progress: Progress) -> Scored | None:
    """What is there; None if there is nothing, or not all of it."""
    if not place.is_dir():
        return None
    try:
        found = Scored.read(place, validated=job.validated)
    except (DataError, OSError) as error:
        progress.warn(f"scores of an earlier command cannot be read and are made again ({error})")
        return None
    # It may be gone by now, or not ours to touch.
    with suppress(OSError):
        os.utime(place)
    return found


def _forget_old(home: Path) -> None:
    """Remove all but the scores that were used last, and what nobody went on with for a week."""
    ages = sorted(((_age(entry), entry) for entry in home.iterdir()), key=lambda one: one[0])
    kept = [entry for _, entry in ages if not entry.name.startswith(".")]
    left = [entry for age, entry in ages if entry.name.startswith(".") and age > _PATIENCE]
    for entry in [*kept[_MOST:], *left]:
        # Another command may be at work there, or remove it too.
        with suppress(OSError, UsageError), lock(entry):
            shutil.rmtree(entry, ignore_errors=True)


def _age(entry: Path) -> float:
    """Seconds since it was used; none if it is gone."""
    with suppress(OSError):
        return time.time() - entry.stat().st_mtime
    return 0.0

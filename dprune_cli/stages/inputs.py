"""From what the user typed to samples, images, a device and a model: shared by the stages that see pixels."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from dprune_cli.core import ranks
from dprune_cli.core.budget import parse_budget
from dprune_cli.core.config import DataConfig, TrainConfig
from dprune_cli.core.errors import BadSamplesError, DataError, UsageError
from dprune_cli.core.progress import FILES, Progress, ignore
from dprune_cli.core.seeds import derive
from dprune_cli.data.augment import LAYOUT
from dprune_cli.data.batch import Images, Inputs
from dprune_cli.data.images import open_images
from dprune_cli.data.memory import parse_memory
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.problems import problems
from dprune_cli.io.samples import Samples
from dprune_cli.io.tar_pack import read_classes
from dprune_cli.models.build import build_model, default_model
from dprune_cli.models.heads import freeze_backbone
from dprune_cli.models.weights import load_weights
from dprune_cli.train.labelled import Labelled, find_owners
from dprune_cli.train.observe import RunInfo

_CHECK_SIZE = 32


def pick_device(name: str | None) -> torch.device:
    """The device that `--device` names; by default the GPU if there is one."""
    if name is None:
        return _own_gpu(torch.device("cuda")) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device {name}: write cpu, cuda or cuda:1") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device {name}: write cpu, cuda or cuda:1")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device {name}: there is no usable GPU here")
    return _own_gpu(device) if device.type == "cuda" else device


def _own_gpu(device: torch.device) -> torch.device:
    """The GPU that is asked for; of several processes each has one of its own, if no number says which."""
    if ranks.size() == 1:
        return device
    if device.index is None:
        # A launcher may show every process one GPU, or all of them.
        device = torch.device("cuda", ranks.here()[0] % torch.cuda.device_count())
    found = ranks.gather(str(torch.cuda.get_device_properties(device).uuid))
    if len(set(found)) < len(found):
        raise UsageError(
            f"{len(found)} processes have {len(set(found))} GPUs, and each needs its own; start fewer, or "
            "give --device cpu"
        )
    return device


def read_as(config: DataConfig, recorded: dict[str, Any]) -> DataConfig:
    """How DATA is read, with the fields that a table was made with where none are given."""
    return dataclasses.replace(
        config,
        label_field=config.label_field or recorded.get("label_field"),
        group_field=config.group_field or recorded.get("group_field"),
    )


def load_samples(
    data: Sequence[str],
    config: DataConfig,
    classes: Sequence[str] | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Samples:
    """Index DATA; `classes` (of a run or a table) win over `--classes` and over the data's own names."""
    parse_budget(config.max_errors, option="--max-errors")  # it is needed last; hours later is too late
    if classes is None and config.classes is not None:
        classes = read_classes(config.classes)
    return open_samples(
        data,
        label_field=config.label_field,
        group_field=config.group_field,
        classes=classes,
        spool=config.spool,
        force=force,
        cache_bytes=parse_memory(config.remote_cache, "--remote-cache"),
        indexed=progress.count("index", FILES) if progress is not None else ignore,
    )


def load_images(
    samples: Samples,
    config: DataConfig,
    device: torch.device,
    progress: Progress,
    image_size: int | None = None,
) -> tuple[Samples, Images]:
    """Open the pixels; samples that cannot be decoded get their status.

    Raises:
        DataError: not one sample can be used.
    """
    need_some(samples)
    memory = None if config.cache_memory is None else parse_memory(config.cache_memory, "--cache-memory")
    rows = np.flatnonzero(samples.ok())
    images = open_images(
        samples,
        rows=rows[ranks.own_range(len(rows))],
        image_size=image_size or config.image_size,
        cache_memory=memory,
        device=device,
        workers=config.workers,
        progress=progress.count("decode"),
    )
    status = samples.status.copy()
    for found in ranks.gather(images.bad):
        for row, why in found.items():
            status[row] = why
    samples = dataclasses.replace(samples, status=status)
    need_some(samples)
    return samples, images


def check_images(samples: Samples, config: DataConfig, progress: Progress) -> Samples:
    """Decode every image once, at a small size, so that broken ones get their status."""
    small = dataclasses.replace(config, image_size=_CHECK_SIZE, cache_memory="0")
    return load_images(samples, small, torch.device("cpu"), progress)[0]


def need_some(samples: Samples) -> None:
    """`DataError` unless at least one sample can be used."""
    if not samples.ok().any():
        counts = ", ".join(f"{count} {why}" for why, count in Counter(samples.status).most_common(3))
        raise DataError(f"{samples.source}: no sample can be used ({counts}){_hint(samples)}")


def need_two_classes(samples: Samples) -> None:
    """`DataError` if all usable samples are of one class: there is nothing to learn."""
    found = np.unique(samples.label[samples.ok()])
    if len(found) == 1:
        name = samples.classes[found[0]]
        raise DataError(
            f"{samples.source}: all {int(samples.ok().sum())} samples are of one class, {name!r}"
            f"{_hint(samples)}"
        )


def _hint(samples: Samples) -> str:
    return f"; {samples.hint}" if samples.hint else ""


def report_bad(samples: Samples, progress: Progress) -> None:
    """Warn about damaged shards and samples that cannot be used, the first of them by key."""
    for line in problems(samples):
        progress.warn(line)


def check_errors(samples: Samples, allowed: str) -> None:
    """`BadSamplesError` if more samples failed than `--max-errors` allows."""
    if line := too_many_errors(samples, allowed):
        raise BadSamplesError(f"{line}; their status stands in the table")


def too_many_errors(samples: Samples, allowed: str) -> str | None:
    """What to say if more samples failed than `--max-errors` allows."""
    budget = parse_budget(allowed, option="--max-errors")
    total, bad = len(samples), int((~samples.ok()).sum())
    if bad + samples.lost > (budget.amount if budget.is_count else budget.amount * total):
        damaged = f" (damaged shards: {samples.lost})" if samples.lost else ""
        return f"{bad} of {total} samples cannot be used{damaged}, more than --max-errors {allowed} allows"
    return None


def labelled(samples: Samples, inputs: Inputs, weight: torch.Tensor | None = None) -> Labelled:
    """All usable samples with their labels; several processes must all call this."""
    rows = np.flatnonzero(samples.ok())
    target = torch.from_numpy(samples.label.astype(np.int64))
    return Labelled(inputs, rows, target, weight, find_owners(inputs, len(samples)))


def run_info(samples: Samples, config: TrainConfig, epochs: int, device: torch.device) -> RunInfo:
    """What recorders and scores may know."""
    target = torch.from_numpy(np.where(samples.ok(), samples.label, -1).astype(np.int64)).to(device)
    group = None if samples.group is None else torch.from_numpy(samples.group.astype(np.int64)).to(device)
    return RunInfo(
        keys=samples.keys,
        target=target,
        classes=len(samples.classes),
        epochs=epochs,
        seed=config.seed,
        device=device,
        class_names=samples.classes,
        group=group,
        group_names=samples.groups,
    )


def with_validation(info: RunInfo, validation: Samples) -> RunInfo:
    """The same with the classes and groups of validation data, groups by the ids of the training data."""
    target = np.where(validation.ok(), validation.label, -1).astype(np.int64)
    group = None
    if validation.group is not None:
        # The last place is for samples without a group, whose id is -1.
        known = [*(_place(info.group_names, name) for name in validation.groups), -1]
        group = torch.tensor(known)[torch.from_numpy(validation.group.astype(np.int64))].to(info.device)
    return dataclasses.replace(
        info,
        validation=len(validation),
        validation_target=torch.from_numpy(target).to(info.device),
        validation_group=group,
    )


def _place(names: Sequence[str], name: str) -> int:
    return list(names).index(name) if name in names else -1


def make_model(
    config: TrainConfig, classes: int, image_size: int, run: int, device: torch.device, progress: Progress
) -> nn.Module:
    """A freshly initialised model of run number `run`, or one that starts from `--init`."""
    name = model_name(config, device)
    model = build_model(name, classes, image_size, seed=derive(config.seed, "init", run))
    return ready_model(model, config, device, progress)


def ready_model(model: nn.Module, config: TrainConfig, device: torch.device, progress: Progress) -> nn.Module:
    """A fresh model on its device, with the weights of `--init` and frozen but for its head if asked for.

    Raises:
        UsageError: it has no head to train, with `--freeze`.
        DataError: the weights do not fit it.
    """
    if config.init is not None:
        fresh = load_weights(model, config.init)
        if fresh:
            progress.note(f"{config.init} has other classes: {', '.join(fresh)} start afresh")
    if config.freeze:
        freeze_backbone(model)
    return model.to(device, memory_format=LAYOUT)  # type: ignore[call-overload]


def model_name(config: TrainConfig, device: torch.device) -> str:
    """The model that is asked for, or the default on this device."""
    return config.model or default_model(device.type)

"""Recorded features in place of images: from a file, with or without DATA, to samples and inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from dprune_cli.core import ranks
from dprune_cli.core.config import DataConfig
from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.data.vectors import Vectors
from dprune_cli.io.features import Features, read_features, recorded_keys
from dprune_cli.io.remote import Place
from dprune_cli.io.samples import MISSING, Samples, recorded_samples
from dprune_cli.io.tar_pack import read_classes
from dprune_cli.stages import inputs

# A layer norm makes a single number 0.
_LEAST_WIDTH = 2
_MOST_CLASSES = 100_000


def check_reading(data: Sequence[str], reading: DataConfig) -> None:
    """`UsageError` for options that read DATA or images, where there are none."""
    if reading.image_size is not None:
        raise UsageError(
            "--image-size is for images, and --from-features takes their place; drop one of them"
        )
    fields = {
        "label-field": reading.label_field,
        "group-field": reading.group_field,
        "spool": reading.spool,
    }
    for name, value in fields.items():
        if value is not None and not data:
            raise UsageError(
                f"--{name} reads DATA, and there is none beside --from-features; name it or drop it"
            )


def load_features(
    path: Place,
    data: Sequence[str],
    reading: DataConfig,
    classes: Sequence[str] | None = None,
    *,
    force: bool = False,
) -> tuple[Samples, Features]:
    """Samples, and the features of the usable ones in the order of their rows.

    With DATA it says which samples there are, and their labels and names; groups that it does not tell come
    from the file. Without DATA the samples are those of the file, and a class without a name is called by
    its id.

    Args:
        path: the recorded features.
        data: DATA as typed; may be empty.
        reading: how DATA is read.
        classes: names by id, of a run or a table; they win over all others.
        force: replace what `--spool` holds.

    Raises:
        DataError: the file cannot be read, or does not match DATA or the classes.
    """
    if data:
        samples = inputs.load_samples(data, reading, classes, force=force)
        inputs.need_some(samples)
        samples = _mark_missing(samples, path, reading.max_errors)
        rows = np.flatnonzero(samples.ok())
        features = read_features(
            path, [samples.keys[row] for row in rows], samples.label[rows], with_logits=False
        )
        samples = _with_groups(samples, features)
    else:
        features = read_features(path, with_logits=False)
        samples = _without_data(path, features, _name_classes(path, features, reading, classes))
    width = features.features.shape[1]
    if width < _LEAST_WIDTH:
        raise DataError(f"{path}: its features are of length {width}; a model needs at least {_LEAST_WIDTH}")
    return samples, features


def load_more(path: Place, like: Samples, width: int) -> tuple[Samples, Features]:
    """Features of other samples, with the classes and the length of those trained on.

    Raises:
        DataError: the file cannot be read, or does not match.
    """
    features = read_features(path, with_logits=False)
    check_width(path, features, width)
    return _without_data(path, features, _fit_classes(path, features, like.classes)), features


def check_width(path: Place, features: Features, width: int) -> None:
    """`DataError` if features are not of the length of those trained on."""
    found = features.features.shape[1]
    if found != width:
        raise DataError(f"{path}: its features are of length {found}, those trained on of length {width}")


def keep_vectors(samples: Samples, features: Features, device: torch.device) -> Vectors:
    """This process's part of the features of all usable samples, on `device`."""
    rows = np.flatnonzero(samples.ok())
    own = ranks.own_range(len(rows))
    return Vectors(features.features[own], rows[own], len(samples), device)


def _mark_missing(samples: Samples, path: Place, allowed: str) -> Samples:
    """A status for samples without features: broken images, which no recording has; a few are tolerated."""
    known = recorded_keys(path)
    missing = [row for row in np.flatnonzero(samples.ok()).tolist() if samples.keys[row] not in known]
    if not missing:
        return samples
    status = samples.status.copy()
    status[missing] = "no_features"
    marked = dataclasses.replace(samples, status=status)
    if inputs.too_many_errors(marked, allowed):
        raise DataError(
            f"{path}: key {samples.keys[missing[0]]!r} has no features ({len(missing)} samples like this)"
        )
    return marked


def _with_groups(samples: Samples, features: Features) -> Samples:
    if samples.group is not None or features.group is None:
        return samples
    group = np.full(len(samples), MISSING, np.int32)
    group[samples.ok()] = features.group
    return dataclasses.replace(samples, group=group, groups=features.groups)


def _without_data(path: Place, features: Features, classes: list[str]) -> Samples:
    return recorded_samples(
        str(path), features.keys, features.labels, classes, features.group, features.groups
    )


def _name_classes(
    path: Place, features: Features, reading: DataConfig, classes: Sequence[str] | None
) -> list[str]:
    if classes is None and reading.classes is not None:
        classes = read_classes(reading.classes)
    if classes is None:
        return features.classes or _ids(_count_classes(path, features))
    return _fit_classes(path, features, classes)


def _count_classes(path: Place, features: Features) -> int:
    """C; a stray label must not make a model of a thousand million classes."""
    count, likely = features.count_classes(), max(len(features.keys), _MOST_CLASSES)
    if count > likely:
        key = features.keys[int(features.labels.argmax())]
        raise DataError(f"{path}: key {key!r} has label {count - 1}, more than is likely; ids count from 0")
    return count


def _fit_classes(path: Place, features: Features, classes: Sequence[str]) -> list[str]:
    """`classes`, if the labels of the features can mean them."""
    names, largest = list(classes), int(features.labels.max())
    if largest >= len(names):
        raise DataError(f"{path}: label {largest} is none of {len(names)} classes")
    # Ids are what classes are called that have no names.
    if features.classes and names not in (features.classes, _ids(len(names))):
        raise DataError(
            f"{path}: its classes ({_some(features.classes)}) are not the expected ones ({_some(names)})"
        )
    return names


def _ids(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")

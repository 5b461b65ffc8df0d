"""`dprune evaluate`: predictions of trained models, and how fair they are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from dprune_cli.core.config import DataConfig
from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.core.progress import Progress
from dprune_cli.data.augment import LAYOUT
from dprune_cli.data.batch import Images, Inputs
from dprune_cli.io.remote import Place, parse_place
from dprune_cli.io.remote_cache import local_file
from dprune_cli.io.run_dir import WEIGHTS, RunConfig, is_run, read_run
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import ScoreTable
from dprune_cli.metrics.classification import Summary, summarise
from dprune_cli.metrics.groups import group_accuracy
from dprune_cli.models.build import build_model
from dprune_cli.models.heads import build_mlp
from dprune_cli.models.weights import load_weights
from dprune_cli.stages import inputs
from dprune_cli.stages.feature_inputs import check_reading, check_width, keep_vectors, load_features
from dprune_cli.stages.geometry import Embedded, Embedding, GeometryRequest
from dprune_cli.train.observe import Field
from dprune_cli.train.probe import probe


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """What `dprune evaluate` was asked for; see its options."""

    runs: Sequence[str]
    data: Sequence[str]
    reading: DataConfig = field(default_factory=DataConfig)
    from_features: Place | None = None
    device: str | None = None
    geometry: GeometryRequest | None = None


@dataclass(frozen=True)
class Evaluation:
    """One run on one data set.

    Attributes:
        run: the run folder, as typed.
        table: the samples with `pred` and `loss`.
        summary: accuracy and recalls.
        groups: (G,) accuracy of every group; None without groups.
        embedded: how classes lie in the run's embedding; None if it was not asked for.
    """

    run: str
    table: ScoreTable
    summary: Summary
    groups: NDArray[np.float64] | None
    embedded: Embedded | None = None

    def as_json(self) -> dict[str, Any]:
        """The summary as users read it with `--json`; null for a class without samples."""
        names = self.table.stratum_names("class")
        result: dict[str, Any] = {
            "run": self.run,
            "samples": int(self.table.ok().sum()),
            "accuracy": self.summary.accuracy,
            "worst_class": self.summary.worst_class,
            "gap": self.summary.gap,
            "std": self.summary.std,
            "recall": _named(names, self.summary.recall),
        }
        if self.groups is not None:
            result["worst_group"] = float(np.nanmin(self.groups))
            result["group_accuracy"] = _named(self.table.meta.groups, self.groups)
        if self.embedded is not None and self.embedded.sets:
            result["geometry"] = {name: one.as_json() for name, one in self.embedded.sets.items()}
        return result


def _named(names: Sequence[str], values: NDArray[np.float64]) -> dict[str, float | None]:
    return {
        name: None if math.isnan(value) else value
        for name, value in zip(names, values.tolist(), strict=False)
    }


def split_arguments(arguments: Sequence[str], *, need_data: bool = True) -> tuple[list[str], list[str]]:
    """Runs and DATA: the leading arguments that are run folders are runs, at least the first one.

    Args:
        arguments: as typed.
        need_data: whether there has to be DATA.
    """
    if not is_run(arguments[0]):
        raise DataError(f"{arguments[0]}: this is no run folder; write dprune evaluate RUN... DATA...")
    count = 1
    while count < len(arguments) and is_run(arguments[count]):
        count += 1
    runs, data = list(arguments[:count]), list(arguments[count:])
    if not data and need_data:
        for run in runs:
            _check_kind(run, read_run(parse_place(run)), None)
        raise UsageError(f"no DATA after the run {runs[-1]}; write dprune evaluate RUN... DATA...")
    return runs, data


def evaluate(request: EvaluateRequest, progress: Progress) -> tuple[Samples, list[Evaluation]]:
    """Evaluate one or several runs on the same data.

    Raises:
        UsageError: images for a run on features, or the other way round.
        DataError: no run folder, no usable sample, runs that know different classes, features that do not
            match, a table that keeps samples of other data.
    """
    if request.geometry is not None:
        request.geometry.verify()
    configs = [read_run(parse_place(run)) for run in request.runs]
    first = configs[0]
    for run, config in zip(request.runs, configs, strict=True):
        if config.classes != first.classes:
            raise DataError(f"{run} knows other classes than {request.runs[0]}; evaluate them apart")
        _check_kind(run, config, request.from_features)
    device = inputs.pick_device(request.device)
    evaluations = []
    opened = _open(request, configs, device, progress)
    for run, config, (samples, fed) in zip(request.runs, configs, opened, strict=True):
        model = restore_model(run, config).to(device, memory_format=LAYOUT)  # type: ignore[call-overload]
        amp = bool(config.training.get("amp", True))
        embedding = Embedding(request.geometry, samples) if request.geometry is not None else None
        pred, loss = predict(model, samples, fed, amp, progress, embedding)
        found = as_evaluation(run, samples, pred, loss)
        if embedding is not None:
            found = dataclasses.replace(found, embedded=embedding.look(progress))
        evaluations.append(found)
    return samples, evaluations


def restore_model(run: str, config: RunConfig) -> nn.Module:
    """The trained model of a run, on the CPU.

    Raises:
        DataError: its weights are not those of its model.
    """
    if config.features is None:
        model = build_model(config.model, len(config.classes), config.image_size, seed=0)
    else:
        model = build_mlp(config.model, config.features, len(config.classes), seed=0)
    fresh = load_weights(model, local_file(parse_place(run) / WEIGHTS))
    if fresh:
        raise DataError(f"{run}: its weights have no {fresh[0]} for these classes; train it again")
    return model


def _check_kind(run: str, config: RunConfig, from_features: Place | None) -> None:
    """`UsageError` for images where a run takes features, or the other way round."""
    if config.features is not None and from_features is None:
        raise UsageError(
            f"{run} was trained on features; give --from-features FILE (score --record-features writes one)"
        )
    if config.features is None and from_features is not None:
        raise UsageError(f"{run} was trained on images; name DATA in place of --from-features")


def _open(
    request: EvaluateRequest, configs: Sequence[RunConfig], device: torch.device, progress: Progress
) -> Iterator[tuple[Samples, Inputs]]:
    """For every run the samples and what its model is fed."""
    if request.from_features is not None:
        return _open_features(request, request.from_features, configs, device)
    return _open_images(request, configs, device, progress)


def _open_images(
    request: EvaluateRequest, configs: Sequence[RunConfig], device: torch.device, progress: Progress
) -> Iterator[tuple[Samples, Inputs]]:
    # Opened anew where the size changes.
    samples = inputs.load_samples(request.data, request.reading, configs[0].classes, progress=progress)
    opened: tuple[int, Images] | None = None
    for config in configs:
        size = config.image_size
        if opened is None or opened[0] != size:
            samples, images = inputs.load_images(samples, request.reading, device, progress, size)
            opened = size, images
        yield samples, opened[1]


def _open_features(
    request: EvaluateRequest, path: Place, configs: Sequence[RunConfig], device: torch.device
) -> Iterator[tuple[Samples, Inputs]]:
    check_reading(request.data, request.reading)
    samples, features = load_features(path, request.data, request.reading, configs[0].classes)
    vectors = keep_vectors(samples, features, device)
    for config in configs:
        check_width(path, features, config.features or 0)
        yield samples, vectors


def predict(
    model: nn.Module,
    samples: Samples,
    fed: Inputs,
    amp: bool,
    progress: Progress,
    embedding: Embedding | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(N,) predicted classes, -1 where a sample cannot be used, and (N,) cross-entropies, NaN there.

    `embedding`, if there is one, takes what the model feeds its last layer.
    """
    pred = np.full(len(samples), -1, np.int32)
    loss = np.full(len(samples), np.nan, np.float32)
    data = inputs.labelled(samples, fed)
    passes = probe(model, data, amp=amp, fields=() if embedding is None else (Field.EMBEDDING,))
    for obs in progress.track(passes, len(data.rows), "evaluate", size=len):
        rows = obs.index.cpu().numpy()
        pred[rows] = obs.logits.argmax(1).cpu().numpy()
        loss[rows] = obs.loss.cpu().numpy()
        if embedding is not None:
            embedding.take(obs)
    return pred, loss


def accuracy(model: nn.Module, samples: Samples, images: Images, amp: bool, progress: Progress) -> Summary:
    """How well a model does on the usable samples."""
    pred, _ = predict(model, samples, images, amp, progress)
    ok = samples.ok()
    return summarise(samples.label[ok], pred[ok], len(samples.classes))


def load_validation(
    data: Sequence[str], reading: DataConfig, like: Samples, images: Images, progress: Progress
) -> tuple[Samples, Images]:
    """Validation data with the classes and the image size of the training data.

    Raises:
        DataError: too many samples cannot be used; nothing has been trained yet, so nothing is lost.
    """
    # The spool keeps the stream of training data.
    reading = dataclasses.replace(reading, spool=None)
    samples = inputs.load_samples(data, reading, like.classes, progress=progress)
    samples, opened = inputs.load_images(samples, reading, images.device, progress, images.size)
    inputs.report_bad(samples, progress)
    if line := inputs.too_many_errors(samples, reading.max_errors):
        raise DataError(f"validation data {' '.join(data)}: {line}")
    return samples, opened


def as_evaluation(
    run: str, samples: Samples, pred: NDArray[np.int32], loss: NDArray[np.float32]
) -> Evaluation:
    """What the predictions of a run say of it; see `predict`."""
    ok = samples.ok()
    table = samples.table()
    table = table.with_columns(
        pred=pa.array(pred, pa.int32(), mask=~ok), loss=pa.array(loss, pa.float32(), mask=~ok)
    )
    table = table.with_meta(table.meta.with_step("evaluate", run=run, recording=samples.recording or None))
    groups = None
    if samples.group is not None:
        groups = group_accuracy(samples.label[ok], pred[ok], samples.group[ok], len(samples.groups))
    return Evaluation(run, table, summarise(samples.label[ok], pred[ok], len(samples.classes)), groups)


def over_seeds(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, float]]:
    """Mean, minimum and maximum of the summary's figures over several runs."""
    figures = ["accuracy", "worst_class", "gap", "std"]
    values = {name: [float(getattr(one.summary, name)) for one in evaluations] for name in figures}
    if evaluations[0].groups is not None:
        values["worst_group"] = [one.as_json()["worst_group"] for one in evaluations]
    return {
        name: {"mean": float(np.mean(found)), "min": min(found), "max": max(found)}
        for name, found in values.items()
    }

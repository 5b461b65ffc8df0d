"""`dprune train --from-features`: a small network on recorded features of any model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import nn

from dprune_cli.core.config import TrainConfig
from dprune_cli.core.errors import DataError
from dprune_cli.core.progress import Progress
from dprune_cli.core.seeds import derive
from dprune_cli.data.vectors import Vectors
from dprune_cli.io.features import Features
from dprune_cli.io.remote import Place
from dprune_cli.io.run_dir import RunConfig, file_digest
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import ScoreTable
from dprune_cli.models.heads import HEAD_WIDTHS, build_mlp, mlp_name, parse_widths
from dprune_cli.stages import inputs
from dprune_cli.stages.feature_inputs import keep_vectors, load_features, load_more
from dprune_cli.stages.run_folder import describe_run
from dprune_cli.stages.train_request import TrainRequest


class FeatureSource:
    """Recorded features, of the samples of DATA or of all that the file holds; see `Source`."""

    def __init__(self, request: TrainRequest, path: Place, device: torch.device, progress: Progress) -> None:
        self.request, self.path, self.device, self.progress = request, path, device, progress
        self.name = mlp_name(parse_widths(HEAD_WIDTHS if request.head is None else request.head))
        self.width = 0
        self._features: Features | None = None

    def index(self) -> Samples:
        """See `Source.index`."""
        request, table = self.request, self.request.table
        reading = inputs.read_as(request.reading, table.meta.reading if table else {})
        classes = table.meta.classes or None if table is not None else None
        samples, features = load_features(self.path, request.data, reading, classes, force=request.force)
        if table is not None and not request.data:
            _check_labels(table, features, self.path)
        self._features, self.width = features, features.features.shape[1]
        return samples

    def open(self, samples: Samples) -> tuple[Samples, Vectors]:
        """See `Source.open`."""
        # Given up here, so that what a table leaves out takes no memory while the model is trained.
        features, self._features = self._features, None
        if features is None:
            raise RuntimeError("features are opened once, after the samples were listed")
        if self.request.table is not None:
            keys = [samples.keys[row] for row in np.flatnonzero(samples.ok())]
            rows = np.asarray(pc.index_in(pa.array(keys), value_set=pa.array(features.keys)))
            features = dataclasses.replace(features, features=features.features[rows])
        return samples, keep_vectors(samples, features, self.device)

    def describe(self, config: TrainConfig, samples: Samples) -> RunConfig:
        """See `Source.describe`."""
        run = describe_run(config, self.request.data, samples, 0, self.device)
        files = {
            "from_features": self.request.from_features,
            "from_val_features": self.request.from_val_features,
        }
        found = {name: [str(path), file_digest(path)] for name, path in files.items() if path is not None}
        return dataclasses.replace(run, model=self.name, features=self.width, data={**run.data, **found})

    def validation(self, samples: Samples) -> tuple[Samples, Vectors] | None:
        """See `Source.validation`."""
        path = self.request.from_val_features
        if path is None:
            return None
        found, features = load_more(path, samples, self.width)
        return found, keep_vectors(found, features, self.device)

    def make_model(self, config: TrainConfig, classes: int) -> nn.Module:
        """See `Source.make_model`."""
        model = build_mlp(self.name, self.width, classes, seed=derive(config.seed, "init", 0))
        return inputs.ready_model(model, config, self.device, self.progress)


def _check_labels(table: ScoreTable, features: Features, path: Place) -> None:
    """`DataError` if a sample has another label in the table, whose names of classes are taken."""
    if "label" not in table:
        return
    keys = pa.array(features.keys, pa.string())
    place = np.asarray(pc.fill_null(pc.index_in(table.data["key"], value_set=keys), -1).combine_chunks())
    known = table.ok() & (place >= 0)
    labels = table.integers("label")
    wrong = np.flatnonzero(known & (labels != features.labels[place]))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{table.source}: key {features.keys[place[row]]!r} has label {labels[row]}, but in {path} it "
            f"has {features.labels[place[row]]}"
        )

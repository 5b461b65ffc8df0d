"""What `dprune train` is asked for, and what a run is trained on: images or recorded features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from torch import nn

from dprune_cli.core.config import DataConfig, TrainConfig
from dprune_cli.core.errors import UsageError
from dprune_cli.data.batch import Inputs
from dprune_cli.io.remote import Place
from dprune_cli.io.run_dir import RunConfig
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import ScoreTable
from dprune_cli.models.heads import parse_widths
from dprune_cli.stages.feature_inputs import check_reading

Stretch = Literal["none", "iterations", "drop"]


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What `dprune train` was asked for; see its options."""

    data: Sequence[str]
    out: Place
    reading: DataConfig = field(default_factory=DataConfig)
    training: TrainConfig = field(default_factory=TrainConfig)
    table: ScoreTable | None = None
    sampler: str | None = None
    keep: str | None = None
    weighter: str | None = None
    val: Sequence[str] = ()
    from_features: Place | None = None
    from_val_features: Place | None = None
    head: str | None = None
    stretch: Stretch = "none"
    force: bool = False

    @property
    def validated(self) -> bool:
        """Whether there is validation data."""
        return bool(self.val) or self.from_val_features is not None

    def verify(self) -> None:
        """`UsageError` for options that make no sense, or not together."""
        self.training.check()
        if self.from_features is not None:
            self._verify_features()
            return
        for name, value in (("head", self.head), ("from-val-features", self.from_val_features)):
            if value is not None:
                raise UsageError(
                    f"--{name} is for training on recorded features; give --from-features FILE too"
                )
        if not self.data:
            raise UsageError("name the DATA to train on, or give --from-features FILE")

    def _verify_features(self) -> None:
        if self.training.model is not None:
            raise UsageError(
                "--model sees images; with --from-features the network is --head 512,256: drop --model"
            )
        if self.training.freeze:
            raise UsageError(
                "--freeze keeps the layers below the head, and --from-features has what they gave: drop it "
                "(--head none is a linear classifier)"
            )
        if self.val:
            raise UsageError(
                "--val sees images; with --from-features give the validation data's features with "
                "--from-val-features FILE"
            )
        check_reading(self.data, self.reading)
        parse_widths(self.head or "")


class Source(Protocol):
    """What a run is trained on; its methods are called in this order, each once."""

    def index(self) -> Samples:
        """All samples, before anything is decoded; at least one is usable."""

    def open(self, samples: Samples) -> tuple[Samples, Inputs]:
        """The samples to train on, those that cannot be read with their status, and the model's inputs."""

    def describe(self, config: TrainConfig, samples: Samples) -> RunConfig:
        """What `config.json` says of the model and of the data."""

    def validation(self, samples: Samples) -> tuple[Samples, Inputs] | None:
        """Validation data with the classes of `samples`; None if there is none."""

    def make_model(self, config: TrainConfig, classes: int) -> nn.Module:
        """The model to train, on the device."""

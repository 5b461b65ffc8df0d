"""`dprune train DATA`: a model of images."""

from __future__ import annotations

import torch
from torch import nn

from dprune_cli.core.config import TrainConfig
from dprune_cli.core.progress import Progress
from dprune_cli.data.batch import Images
from dprune_cli.data.choose import choose_image_size
from dprune_cli.io.run_dir import RunConfig
from dprune_cli.io.samples import Samples
from dprune_cli.stages import inputs
from dprune_cli.stages.evaluate import load_validation
from dprune_cli.stages.run_folder import describe_run
from dprune_cli.stages.train_request import TrainRequest


class ImageSource:
    """The images of DATA; see `Source`."""

    def __init__(self, request: TrainRequest, device: torch.device, progress: Progress) -> None:
        self.request, self.device, self.progress = request, device, progress
        self.reading = inputs.read_as(request.reading, request.table.meta.reading if request.table else {})
        self.images: Images | None = None

    def index(self) -> Samples:
        """See `Source.index`."""
        table = self.request.table
        classes = table.meta.classes or None if table is not None else None
        samples = inputs.load_samples(
            self.request.data, self.reading, classes, force=self.request.force, progress=self.progress
        )
        inputs.need_some(samples)
        # The size is judged by all of DATA, so that the final model sees what the query model saw.
        self.size = self.reading.image_size or choose_image_size(samples)
        return samples

    def open(self, samples: Samples) -> tuple[Samples, Images]:
        """See `Source.open`."""
        samples, self.images = inputs.load_images(
            samples, self.reading, self.device, self.progress, self.size
        )
        return samples, self.images

    def describe(self, config: TrainConfig, samples: Samples) -> RunConfig:
        """See `Source.describe`."""
        return describe_run(config, self.request.data, samples, self.size, self.device)

    def validation(self, samples: Samples) -> tuple[Samples, Images] | None:
        """See `Source.validation`."""
        if not self.request.val:
            return None
        if self.images is None:
            raise RuntimeError("validation data are opened after those to train on")
        return load_validation(self.request.val, self.reading, samples, self.images, self.progress)

    def make_model(self, config: TrainConfig, classes: int) -> nn.Module:
        """See `Source.make_model`."""
        return inputs.make_model(config, classes, self.size, 0, self.device, self.progress)

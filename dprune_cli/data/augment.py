"""Augmentation and normalisation of whole batches, on whatever device they are.

Every random number comes from a generator that is passed in. Its draws are made on its own device, so a
CPU generator gives the same augmentation on a CPU and on a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional

from dprune_cli.core.config import TrainConfig
from dprune_cli.data.batch import Piece, View

# Mean and standard deviation of ImageNet's training images, red, green and blue, of values in 0 to 1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# Convolutions are faster with channels last, by a third for small models on a CPU and more on a GPU.
LAYOUT = torch.channels_last

_LOG_RATIO = math.log(4 / 3)


def normalise(images: Tensor) -> Tensor:
    """uint8 images (B, 3, S, S) as float32 with about zero mean and unit variance a channel."""
    mean = 255 * torch.tensor(MEAN, device=images.device).view(3, 1, 1)
    std = 255 * torch.tensor(STD, device=images.device).view(3, 1, 1)
    return (images - mean).div_(std)


def prepare(images: Tensor, size: int) -> Tensor:
    """The normalised central square (B, 3, size, size) of uint8 images (B, 3, S, S), S at least `size`."""
    start = (images.shape[-1] - size) // 2
    return normalise(images[..., start : start + size, start : start + size])


class ImageViews:
    """The part of `Inputs` that is the same for all images (B, 3, stored, stored)."""

    size: int

    def clean(self, stored: Tensor) -> Tensor:
        """See `Inputs.clean`."""
        return prepare(stored, self.size).to(memory_format=LAYOUT)

    def views(self, config: TrainConfig) -> View:
        """See `Inputs.views`."""
        augment = Augment(size=self.size, flip=config.flip, shift=config.shift, cutout=config.cutout)

        def view(stored: Tensor, generator: Generator, piece: Piece) -> Tensor:
            draws = augment.draw(len(piece.rows), stored.shape[-1], generator)
            return augment(stored, draws.take(piece.part)).to(memory_format=LAYOUT)

        return view


@dataclass(frozen=True)
class Draws:
    """The random choices for a batch of B images.

    Attributes:
        flips: (B,) bool, which are mirrored.
        moves: (2, B) how small images move; None for large ones.
        boxes: (4, B) what is cut out of large images; None for small ones.
        centres: (2, B) of the squares that are blanked out; None for none.
    """

    flips: Tensor
    moves: Tensor | None
    boxes: Tensor | None
    centres: Tensor | None

    def take(self, part: NDArray[np.int64]) -> Draws:
        """The choices for these images of the batch."""
        places = torch.from_numpy(part).to(self.flips.device)
        rest = (self.moves, self.boxes, self.centres)
        return Draws(self.flips[places], *(None if one is None else one[:, places] for one in rest))


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random views of stored images.

    With stored images of the model's own size: a shift of up to `shift` pixels, what moves in mirroring
    the border. With larger ones: a random part of the image, resized (Szegedy et al., "Going deeper with
    convolutions", CVPR 2015, https://arxiv.org/abs/1409.4842). Then, for both, flips and cutout (DeVries
    and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017,
    https://arxiv.org/abs/1708.04552).

    Attributes:
        size: side of the result.
        flip: mirror half of the images, left to right.
        shift: most pixels that a small image moves, in each direction.
        cutout: side of a square that is blanked out, its centre anywhere in the image; 0 for none.
        crop_scale: least share of a large image's area that is kept, in (0, 1].
    """

    size: int
    flip: bool = True
    shift: int = 4
    cutout: int = 0
    crop_scale: float = 0.08

    def draw(self, batch: int, stored: int, generator: Generator) -> Draws:
        """What the views of a batch of images of side `stored` are made by."""
        flips = uniform(generator, batch) < 0.5 if self.flip else torch.zeros(batch, dtype=torch.bool)
        moves = boxes = centres = None
        if stored == self.size:
            moves = integers(generator, 2 * self.shift + 1, 2, batch)
        else:
            boxes = draw_boxes(uniform(generator, 4, batch), self.crop_scale)
        if self.cutout:
            centres = integers(generator, self.size, 2, batch)
        return Draws(flips, moves, boxes, centres)

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """float32 normalised views (B, 3, size, size) of uint8 images (B, 3, S, S)."""
        if draws.boxes is not None:
            views = crop_images(normalise(images), draws.boxes, draws.flips, self.size)
        else:
            moved = images if draws.moves is None else shift_images(images, draws.moves, self.shift)
            views = normalise(mirror(moved, draws.flips))
        return views if draws.centres is None else cut_out(views, draws.centres, self.cutout)


def uniform(generator: Generator, *shape: int) -> Tensor:
    """Numbers in [0, 1)."""
    return torch.rand(shape, generator=generator, device=generator.device)


def integers(generator: Generator, end: int, *shape: int) -> Tensor:
    """Whole numbers from 0 up to but not including `end`."""
    return torch.randint(0, end, shape, generator=generator, device=generator.device)


def mirror(images: Tensor, flips: Tensor) -> Tensor:
    """Images (B, C, S, S), mirrored left to right where `flips` (B,) says so."""
    return torch.where(flips.to(images.device).view(-1, 1, 1, 1), images.flip(-1), images)


def shift_images(images: Tensor, moves: Tensor, reach: int) -> Tensor:
    """Windows of images (B, C, S, S) that were padded with `reach` mirrored pixels on every side.

    Args:
        images: any type.
        moves: (2, B) top and left corner of the window, 0 to 2 * reach; `reach` is no shift.
        reach: pixels of padding, less than S.

    >>> shift_images(torch.tensor([[[[1, 2], [3, 4]]]]), torch.tensor([[1], [0]]), 1).tolist()
    [[[[2, 1], [4, 3]]]]
    """
    if reach == 0:
        return images
    side = images.shape[-1]
    # By hand, so as not to depend on the types that padding supports on each device.
    padded = images
    for axis in (2, 3):
        before = padded.narrow(axis, 1, reach).flip(axis)
        after = padded.narrow(axis, side - 1 - reach, reach).flip(axis)
        padded = torch.cat([before, padded, after], axis)
    windows = padded.unfold(2, side, 1).unfold(3, side, 1)
    top, left = moves.to(images.device)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def draw_boxes(uniform: Tensor, least_area: float) -> Tensor:
    """Boxes (4, B): height, width, top and left as shares of an image's side.

    Area is uniform in [least_area, 1], the logarithm of width over height in [log 3/4, log 4/3], the place
    in what is left. A side that would not fit is cut to 1, rather than drawn again.

    Args:
        uniform: (4, B) numbers in [0, 1) for area, ratio, top and left.
        least_area: in (0, 1].

    >>> draw_boxes(torch.tensor([[0.0], [0.5], [0.5], [1.0]]), 0.25).flatten().tolist()
    [0.5, 0.5, 0.25, 0.5]
    """
    area = least_area + (1 - least_area) * uniform[0]
    stretch = torch.exp((uniform[1] - 0.5) * _LOG_RATIO)  # the square root of the ratio
    height = (area.sqrt() / stretch).clamp(max=1)
    width = (area.sqrt() * stretch).clamp(max=1)
    return torch.stack([height, width, uniform[2] * (1 - height), uniform[3] * (1 - width)])


def crop_images(images: Tensor, boxes: Tensor, flips: Tensor, size: int) -> Tensor:
    """Boxes of float images (B, C, S, S), mirrored where asked and resized to (B, C, size, size).

    Args:
        images: float.
        boxes: (4, B) as `draw_boxes` gives them.
        flips: (B,) bool.
        size: side of the result.
    """
    height, width, top, left = boxes.to(images.device)
    sign = torch.where(flips.to(images.device), -1.0, 1.0)
    # Pixel centres in the coordinates of grid_sample, where an image reaches from -1 to 1.
    line = (2 * torch.arange(size, device=images.device) + 1) / size - 1
    y = (2 * top + height - 1)[:, None] + height[:, None] * line
    x = (2 * left + width - 1)[:, None] + (sign * width)[:, None] * line
    shape = (len(images), size, size)
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=-1)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def cut_out(images: Tensor, centres: Tensor, side: int) -> Tensor:
    """Images (B, C, S, S) with zeros in a square around `centres` (2, B) (y, x), cut at the border.

    The square begins `side // 2` pixels before its centre.

    >>> cut_out(torch.ones(1, 1, 2, 3), torch.tensor([[0], [2]]), 1).tolist()
    [[[[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]]]
    """
    (rows, columns), device = images.shape[-2:], images.device
    y, x = (centres.to(device) - side // 2)[:, :, None]
    down = torch.arange(rows, device=device) - y
    across = torch.arange(columns, device=device) - x
    inside = ((down >= 0) & (down < side))[:, :, None] & ((across >= 0) & (across < side))[:, None, :]
    return images.masked_fill(inside[:, None], 0.0)

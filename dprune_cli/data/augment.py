"""Augmentation and normalisation of whole batches, on whatever device they are.

Every random number comes from a generator that is passed in. Its draws are made on its own device, so a
CPU generator gives the same augmentation on a CPU and on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from dprune_cli.core.config import TrainConfig

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

    def views(self, config: TrainConfig) -> Callable[[Tensor, Generator], Tensor]:
        """See `Inputs.views`."""
        augment = Augment(size=self.size, flip=config.flip, shift=config.shift, cutout=config.cutout)
        return lambda stored, generator: augment(stored, generator).to(memory_format=LAYOUT)


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

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """float32 normalised views (B, 3, size, size) of uint8 images (B, 3, S, S)."""
        batch = len(images)
        flips = self._draw(generator, batch) < 0.5 if self.flip else torch.zeros(batch, dtype=torch.bool)
        if images.shape[-1] == self.size:
            moves = torch.randint(
                0, 2 * self.shift + 1, (2, batch), generator=generator, device=generator.device
            )
            views = normalise(mirror(shift_images(images, moves, self.shift), flips))
        else:
            boxes = draw_boxes(self._draw(generator, 4, batch), self.crop_scale)
            views = crop_images(normalise(images), boxes, flips, self.size)
        if self.cutout:
            centres = torch.randint(0, self.size, (2, batch), generator=generator, device=generator.device)
            views = cut_out(views, centres, self.cutout)
        return views

    def _draw(self, generator: Generator, *shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=generator.device)


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

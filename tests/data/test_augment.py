from __future__ import annotations

import numpy as np
import pytest
import torch

from dprune_cli.data.augment import (
    MEAN,
    STD,
    Augment,
    crop_images,
    cut_out,
    draw_boxes,
    mirror,
    normalise,
    prepare,
    shift_images,
)


def noise(batch=4, side=8, seed=0):
    return torch.from_numpy(
        np.random.default_rng(seed).integers(0, 256, (batch, 3, side, side), dtype=np.uint8)
    )


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def apply(augment, images, seed=0):
    return augment(images, augment.draw(len(images), images.shape[-1], generator(seed)))


def test_normalise_by_hand():
    images = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = [(0 / 255 - MEAN[0]) / STD[0], (128 / 255 - MEAN[1]) / STD[1], (255 / 255 - MEAN[2]) / STD[2]]
    got = normalise(images)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.flatten(), expected, rtol=1e-5)


def test_prepare_takes_the_centre():
    images = noise(side=10)
    assert torch.equal(prepare(images, 10), normalise(images))
    assert torch.equal(prepare(images, 8), normalise(images[:, :, 1:9, 1:9]))


def test_a_flip_is_a_flip_of_the_chosen_images():
    images = noise(2)
    flipped = mirror(images, torch.tensor([False, True]))
    assert torch.equal(flipped[0], images[0])
    assert torch.equal(flipped[1], images[1].flip(2))


def test_shifts_against_a_loop():
    images = noise(5)
    moves = torch.tensor([[3, 0, 6, 2, 5], [3, 6, 0, 5, 1]])
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode="reflect")
    got = shift_images(images, moves, 3)
    assert torch.equal(got[0], images[0])
    for image, (top, left) in enumerate(moves.T.tolist()):
        assert np.array_equal(got[image], padded[image, :, top : top + 8, left : left + 8])


def test_a_whole_box_changes_nothing_and_a_flipped_one_mirrors():
    images = normalise(noise(2))
    whole = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    got = crop_images(images, whole, torch.tensor([False, True]), 8)
    torch.testing.assert_close(got[0], images[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(got[1], images[1].flip(2), rtol=0, atol=1e-5)


def test_a_box_of_whole_pixels_is_cut_out():
    images = normalise(noise(1))
    box = torch.tensor([[0.5], [0.5], [0.25], [0.375]])  # rows 2 to 5, columns 3 to 6
    got = crop_images(images, box, torch.tensor([False]), 4)
    torch.testing.assert_close(got, images[:, :, 2:6, 3:7], rtol=0, atol=1e-5)


def test_boxes_stay_inside_and_keep_their_promises():
    height, width, top, left = draw_boxes(torch.rand(4, 5000, generator=generator()), 0.08)
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 1 + 1e-6
    whole = (height < 1) & (width < 1)
    ratio, area = (width / height)[whole], (height * width)[whole]
    assert 0.75 - 1e-4 <= ratio.min() < 0.76 and 1.32 < ratio.max() <= 4 / 3 + 1e-4
    assert 0.08 - 1e-4 <= area.min() < 0.09 and area.max() > 0.9


@pytest.mark.parametrize(("side", "first", "last"), [(3, 1, 3), (4, 0, 3)])
def test_cutout_blanks_a_square(side, first, last):
    blank = cut_out(torch.ones(1, 3, 6, 6), torch.tensor([[2], [2]]), side) == 0
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[first : last + 1, first : last + 1] = True
    assert torch.equal(blank[0], expected.expand(3, 6, 6))


def test_cutout_is_cut_at_the_border_and_differs_by_image():
    blank = cut_out(torch.ones(2, 1, 6, 6), torch.tensor([[0, 5], [5, 3]]), 4) == 0
    assert blank.sum((1, 2, 3)).tolist() == [2 * 3, 3 * 4]


def test_with_everything_off_small_images_are_only_normalised():
    images = noise()
    plain = Augment(size=8, flip=False, shift=0)
    assert torch.equal(apply(plain, images), normalise(images))


def test_cutout_comes_with_the_augmentation():
    blank = apply(Augment(size=8, flip=False, shift=0, cutout=3), noise()) == 0
    assert blank.flatten(1).sum(1).min() >= 3 * 2 * 2


def test_only_flips():
    images = noise(200)
    got = apply(Augment(size=8, shift=0), images)
    same = (got == normalise(images)).flatten(1).all(1)
    mirrored = (got == normalise(images.flip(3))).flatten(1).all(1)
    assert bool((same ^ mirrored).all())
    assert 70 < int(same.sum()) < 130


@pytest.mark.parametrize("augment", [Augment(size=8, cutout=2), Augment(size=7)])
def test_views_follow_from_the_generator_alone(augment):
    images = noise(16)
    before = torch.get_rng_state()
    one, two, other = (apply(augment, images, seed) for seed in (1, 1, 2))
    assert one.shape == (16, 3, augment.size, augment.size) and one.dtype == torch.float32
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())
    assert images.dtype == torch.uint8 and torch.equal(images, noise(16))


@pytest.mark.parametrize("augment", [Augment(size=8, cutout=2), Augment(size=7)])
def test_views_do_not_depend_on_the_part_of_the_batch(augment):
    images, part = noise(16), np.array([1, 4, 5, 15])
    draws = augment.draw(16, 8, generator())
    assert torch.equal(augment(images, draws)[part], augment(images[part], draws.take(part)))


def test_a_large_image_keeps_its_colours():
    grey = torch.full((3, 3, 16, 16), 100, dtype=torch.uint8)
    torch.testing.assert_close(apply(Augment(size=14), grey), normalise(grey)[:, :, :14, :14])


@pytest.mark.gpu
def test_a_cpu_generator_gives_the_same_views_on_the_gpu():
    images = noise(16)
    for augment in (Augment(size=8, cutout=2), Augment(size=7)):
        on_gpu = apply(augment, images.cuda()).cpu()
        torch.testing.assert_close(on_gpu, apply(augment, images), rtol=0, atol=1e-4)

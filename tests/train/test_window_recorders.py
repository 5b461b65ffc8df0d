from __future__ import annotations

import numpy as np
import pytest
import torch

from dprune_cli.train.checkpoint import load_state, save_state
from dprune_cli.train.observe import Phase, RunInfo, observe
from dprune_cli.train.window_recorders import (
    WindowChange,
    absolute_change,
    divergence,
    root_of_squares,
    sum_of_squares,
)

SAMPLES, CLASSES, EPOCHS = 13, 4, 7
FORMS = {"paper": (divergence, sum_of_squares), "authors": (absolute_change, root_of_squares)}
# True-class probabilities .2, .5, .6, .9 of one sample of two classes, worked out by hand.
PATH = (0.2, 0.5, 0.6, 0.9)
DIFFERENCES = {
    "paper": (0.22314355, 0.02013551, 0.22628916),
    "authors": (0.69314716, 0.19865035, 0.50354802),
}
WINDOWS = {"paper": (0.02060613, 0.02124966), "authors": (0.34966205, 0.21559521)}
SCORES = {"paper": 0.02097925, "authors": 0.22550527}


def make_info(samples=SAMPLES, classes=CLASSES):
    return RunInfo([str(row) for row in range(samples)], torch.zeros(samples).long(), classes, EPOCHS)


def make_recorder(form="paper", window=4, decay=0.9):
    return WindowChange(*FORMS[form], window, decay)


def make_logits(epochs=EPOCHS, seed=0):
    return np.random.default_rng(seed).normal(0, 3, (epochs, SAMPLES, CLASSES)).astype(np.float32)


def show(recorder, epoch, rows, logits):
    rows = torch.as_tensor(rows)
    target = torch.zeros(len(rows), dtype=torch.int64)
    recorder.update(observe(Phase.TRAIN, epoch, rows, target, torch.as_tensor(logits)))


def run(recorder, logits, order=None, size=SAMPLES):
    recorder.start(make_info())
    for epoch, values in enumerate(logits, 1):
        rows = np.arange(SAMPLES) if order is None else order(epoch)
        for first in range(0, SAMPLES, size):
            part = rows[first : first + size]
            show(recorder, epoch, part, values[part])
    return recorder.result().numpy()


def reference(logits, form, window, decay):
    """The whole trajectory of one sample (E, C) at once."""
    z = logits.astype(np.float64)
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    found = 0.0
    for end in range(window, len(p) + 1):
        values = []
        for t in range(end - window, end - 1):
            if form == "paper":
                values.append(sum(p[t + 1, c] * np.log(p[t + 1, c] / p[t, c]) for c in range(p.shape[1])))
            else:
                logs = np.log(p + 1e-8)
                values.append(
                    sum(abs(p[t + 1, c] * (logs[t + 1, c] - logs[t, c])) for c in range(p.shape[1]))
                )
        assert len(values) == window - 1
        squares = sum((value - np.mean(values)) ** 2 for value in values)
        found = decay * (squares if form == "paper" else squares**0.5) + (1 - decay) * found
    return found


@pytest.mark.parametrize("form", FORMS)
def test_differences_and_windows_by_hand(form):
    logs = torch.tensor([[p, 1 - p] for p in PATH], dtype=torch.float64).log()
    difference, spread = FORMS[form]
    values = difference(logs[1:], logs[:-1])
    assert values.tolist() == pytest.approx(DIFFERENCES[form], rel=2e-7)
    windows = [spread(values[first : first + 2, None]).item() for first in range(2)]
    assert windows == pytest.approx(WINDOWS[form], abs=1e-8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("visits", [3, 4])
def test_the_average_by_hand(form, visits):
    recorder = make_recorder(form, window=3)
    recorder.start(make_info(1, 2))
    for epoch, p in enumerate(PATH[:visits], 1):
        show(recorder, epoch, [0], np.log([[p, 1 - p]]).astype(np.float32))
    # Where T == K there is one window, and the average starts from 0.
    expected = 0.9 * WINDOWS[form][0] if visits == 3 else SCORES[form]
    assert recorder.result().tolist() == pytest.approx([expected], rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("window", "decay"), [(3, 0.9), (4, 0.5), (EPOCHS, 0.9), (4, 1.0)])
def test_against_whole_trajectories(form, window, decay):
    logits = make_logits()
    found = run(make_recorder(form, window, decay), logits)
    expected = [reference(logits[:, row], form, window, decay) for row in range(SAMPLES)]
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_any_order_of_visits_and_size_of_batches_gives_the_same(form):
    logits = make_logits()
    expected = run(make_recorder(form), logits)
    for size in (1, 5, 13):
        order = lambda epoch: np.random.default_rng(epoch).permutation(SAMPLES)  # noqa: E731
        assert np.array_equal(run(make_recorder(form), logits, order, size), expected)


def test_visits_count_not_epochs_and_too_few_give_nan():
    logits = make_logits()
    recorder = make_recorder(window=4)
    recorder.start(make_info())
    rows = np.arange(SAMPLES)
    for epoch, values in enumerate(logits, 1):
        # Row 0 is never visited, row 1 three times, row 2 in every second epoch, the others always.
        part = rows[(rows > 2) | ((rows == 1) & (epoch <= 3)) | ((rows == 2) & (epoch % 2 == 1))]
        show(recorder, epoch, part, values[part])
    found = recorder.result().numpy()
    assert np.isnan(found[:2]).all() and np.isfinite(found[2:]).all()
    assert found[2] == pytest.approx(reference(logits[::2, 2], "paper", 4, 0.9), rel=1e-5)
    assert found[3:] == pytest.approx(
        [reference(logits[:, row], "paper", 4, 0.9) for row in rows[3:]], rel=1e-5
    )


@pytest.mark.parametrize("form", FORMS)
def test_sure_predictions_stay_finite_and_unlike_noise(form):
    recorder = make_recorder(form, window=3)
    recorder.start(make_info(2, 2))
    for epoch, height in enumerate((15.0, 16.0, 18.0), 1):
        show(recorder, epoch, [0, 1], np.array([[height, 0], [500 * height, 0]], np.float32))
    found = recorder.result().tolist()
    if form == "paper":
        # With q = e^-height the divergence is about q' (q / q' - 1 - log(q / q')).
        q = np.exp([-15.0, -16.0, -18.0])
        values = q[1:] * (q[:-1] / q[1:] - 1 - np.log(q[:-1] / q[1:]))
        assert found[0] == pytest.approx(0.9 * ((values - values.mean()) ** 2).sum(), rel=1e-3)
    assert found[1] == 0


def test_the_state_is_all_there_is(tmp_path):
    logits = make_logits()
    whole = run(make_recorder(), logits)
    first, second = make_recorder(), make_recorder()
    for recorder, epochs in ((first, range(1, 4)), (second, range(4, EPOCHS + 1))):
        recorder.start(make_info())
        if recorder is second:
            save_state(tmp_path / "state", {"hook": first.state})
            second.state.update(load_state(tmp_path / "state")["hook"])
        for epoch in epochs:
            show(recorder, epoch, np.arange(SAMPLES), logits[epoch - 1])
    assert np.array_equal(second.result().numpy(), whole)


def test_it_holds_one_matrix_and_a_few_numbers_a_sample():
    recorder = make_recorder(window=5)
    recorder.start(make_info(1000, 50))
    matrix, rings, average, visits = 1000 * 50 * 4, 1000 * 4 * 4, 1000 * 8, 1000 * 8
    assert sum(tensor.nbytes for tensor in recorder.state.values()) == matrix + rings + average + visits


def test_equal_settings_are_equal_whatever_was_seen():
    first, second = make_recorder(), make_recorder()
    run(first, make_logits())
    assert first == second and hash(first) == hash(second)
    others = [make_recorder("authors"), make_recorder(window=5), make_recorder(decay=0.8)]
    assert len({first, *others}) == 4


def test_starting_again_forgets():
    recorder, logits = make_recorder(), make_logits()
    first = run(recorder, logits)
    kept = first.copy()
    assert np.array_equal(run(recorder, logits), kept) and np.array_equal(first, kept)

from __future__ import annotations

import dataclasses
import math
import random
from functools import partial

import numpy as np
import pytest
import torch
from tiny_data import SIZES, VALIDATION_SIZES
from torch.nn import functional as F  # noqa: N812
from toy_fits import (
    CPU,
    PLAIN,
    Everything,
    make_config,
    make_data,
    make_fit,
    make_info,
    make_model,
    make_validation,
    same,
    weights,
    without_seconds,
)
from toy_models import dropout_net, linear_net
from toy_trajectory import every_score

from dprune_cli.core.errors import DpruneError, UsageError
from dprune_cli.core.seeds import numpy_rng
from dprune_cli.data.augment import normalise
from dprune_cli.data.images import open_images
from dprune_cli.data.resident import Resident
from dprune_cli.data.streaming import Streaming
from dprune_cli.io.dataset import open_samples
from dprune_cli.models.build import build_model
from dprune_cli.scores.base import SCORES
from dprune_cli.train.labelled import Labelled
from dprune_cli.train.observe import Phase
from dprune_cli.train.recorders import VisitLog
from dprune_cli.train.recording import FeatureLog
from dprune_cli.weighters.cdb_w import CdbW


def all_watchers(epochs, folder):
    scores = [SCORES.make(spec) for spec in (*every_score(epochs), "dyn_unc:window=2,phase=probe")]
    found = [recorder for score in scores for recorder in score.recorders(epochs).values()]
    keys = [str(row) for row in range(sum(VALIDATION_SIZES))]
    folders = [folder / name for name in ("features", "validation")]
    for one in folders:
        one.mkdir(exist_ok=True)
    logs = [FeatureLog(folders[0], 2), FeatureLog(folders[1], 2, Phase.VALIDATION, keys)]
    return [*found, *logs, VisitLog(), Everything(Phase.TRAIN, None, FeatureLog.fields)]


@pytest.mark.parametrize("model", ["tiny", "dropout"])
def test_watching_is_free(model, tmp_path):
    def trained(**options):
        net = build_model("tiny", 4, 8, seed=3) if model == "tiny" else make_model()
        fit = make_fit(model=net, **options)
        fit.train()
        return weights(fit.model), [row["loss"] for row in fit.history]

    plain = trained()
    watched = trained(recorders=all_watchers(3, tmp_path), validation=make_validation())
    assert same(plain[0], watched[0]) and plain[1] == watched[1]


def test_no_global_random_state_is_read_or_changed(tmp_path):
    found = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        before = random.getstate(), np.random.get_state(), torch.get_rng_state()
        fit = make_fit(recorders=all_watchers(3, tmp_path), validation=make_validation(), weighter=CdbW())
        fit.train()
        found.append(weights(fit.model))
        assert random.getstate() == before[0]
        assert all(np.array_equal(*pair) for pair in zip(np.random.get_state(), before[1], strict=True))
        assert torch.equal(torch.get_rng_state(), before[2])
    assert same(*found)


def test_a_failure_leaves_the_random_state_as_it_was():
    class Failing(Everything):
        def update(self, obs):
            raise ZeroDivisionError

    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        make_fit(recorders=[Failing()]).train()
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_order_and_augmentation_differ_between_epochs_and_runs():
    views = {}
    for run in (0, 1):
        seen = Everything()
        fit = make_fit(make_config(lr=1e-12, weight_decay=0.0), recorders=[seen], run=run)
        fit.train()
        for epoch in (1, 2):
            batches = [obs for obs in seen.seen if obs.epoch == epoch]
            index = torch.cat([obs.index for obs in batches])
            assert sorted(index.tolist()) == list(range(40))
            logits = torch.cat([obs.logits for obs in batches])[index.argsort()]
            views[run, epoch] = index, logits
    keys = list(views)
    for place, first in enumerate(keys):
        for second in keys[:place]:
            assert not torch.equal(views[first][0], views[second][0])
            # The weights stand still, so only chance can tell the passes apart.
            assert not torch.allclose(views[first][1], views[second][1])


def test_runs_and_seeds_give_other_weights():
    found = []
    for options in ({"run": 0}, {"run": 1}, {"config": make_config(seed=1)}):
        fit = make_fit(**options)
        fit.train()
        found.append(weights(fit.model))
    assert not same(found[0], found[1]) and not same(found[0], found[2])


def test_resident_and_streaming_images_train_alike(image_folder):
    samples = open_samples([str(image_folder)])
    found = []
    for memory, kind in ((None, Resident), (0, Streaming)):
        images = open_images(samples, image_size=8, cache_memory=memory, device=CPU)
        assert isinstance(images, kind)
        target = torch.from_numpy(samples.label.astype(np.int64))
        data = Labelled(images, np.flatnonzero(samples.ok()), target)
        fit = make_fit(data=data, recorders=[VisitLog()])
        fit.train()
        found.append((weights(fit.model), without_seconds(fit.history), fit.recorders[0].state))
    assert same(found[0][0], found[1][0]) and found[0][1] == found[1][1] and same(found[0][2], found[1][2])


@pytest.mark.parametrize("size", [13, 39])
def test_a_last_batch_of_one_sample_is_no_trouble(size):
    # 40 = 3 x 13 + 1; 39 leaves one after the first batch.
    seen = Everything()
    fit = make_fit(make_config(batch_size=size), model=build_model("tiny", 4, 8, seed=0), recorders=[seen])
    fit.train(1)
    assert [len(obs.index) for obs in seen.seen] == {13: [13, 13, 14], 39: [40]}[size]
    assert fit.history[0]["visited"] == 40


def test_the_history_counts_visits_and_losses_by_class():
    seen = Everything()
    fit = make_fit(recorders=[seen], validation=make_validation())
    history = fit.train(2)
    assert [row["epoch"] for row in history] == [1, 2]
    for row in history:
        batches = [obs for obs in seen.seen if obs.epoch == row["epoch"]]
        target = torch.cat([obs.target for obs in batches])
        loss = torch.cat([obs.loss for obs in batches]).double()
        assert row["class_visited"] == list(SIZES) and row["visited"] == 40
        for label in range(4):
            assert row["class_loss"][label] == pytest.approx(float(loss[target == label].sum()), rel=1e-12)
        assert row["loss"] == pytest.approx(float(loss.mean()), rel=1e-12)
        assert row["seconds"] > 0


def test_validation_leaves_classes_without_samples_out():
    class Kept:
        def start(self, run):
            self.state, self.recall = {}, None

        def coef(self, obs, weight):
            return weight / len(weight)

        def end_epoch(self, epoch, class_recall):
            self.recall = class_recall.tolist()

    kept = Kept()
    fit = make_fit(validation=make_validation(), weighter=kept)
    row = fit.train(1)[0]
    data = make_validation()
    fit.model.eval()
    with torch.no_grad():
        pred = fit.model(normalise(data.inputs.pixels)).argmax(1)
    right = (pred == data.target).double()
    expected = [float(right[data.target == label].mean()) for label in range(3)]
    assert kept.recall[:3] == expected and math.isnan(kept.recall[3])
    assert row["val_accuracy"] == float(right.mean()) and row["val_worst_class"] == min(expected)


def test_one_step_by_hand():
    """Plain SGD on the mean cross-entropy of a linear model: the gradient is (p - y) x / B."""
    config = make_config(epochs=1, batch_size=40, lr=0.2, schedule="constant", **PLAIN)
    model = make_model(linear_net)
    before = weights(model)
    data = make_data()
    fit = make_fit(config, data, model)
    fit.train()
    x = normalise(data.inputs.pixels).flatten(1).double()
    w, b = before["1.weight"].double(), before["1.bias"].double()
    error = (x @ w.T + b).softmax(1) - F.one_hot(data.target, 4)
    torch.testing.assert_close(model[1].weight.double(), w - 0.2 * error.T @ x / 40, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model[1].bias.double(), b - 0.2 * error.mean(0), rtol=1e-4, atol=1e-6)


def test_clip_norm_bounds_the_step():
    for limit, expected in ((0.01, 0.01), (1e6, None)):
        steps = []
        for clip in (limit, None):
            model = make_model(linear_net)
            before = weights(model)
            config = make_config(
                epochs=1, batch_size=40, lr=0.5, schedule="constant", clip_norm=clip, **PLAIN
            )
            make_fit(config, model=model).train()
            moved = torch.cat([(weights(model)[name] - before[name]).flatten() for name in before])
            steps.append(float(moved.norm()) / 0.5)
        assert steps[1] > 0.1
        assert steps[0] == pytest.approx(steps[1] if expected is None else expected, rel=1e-3)


def test_a_sample_of_weight_zero_has_no_influence():
    """No batch norm here: there a sample also acts through the statistics of its batch."""
    rows = torch.tensor([0, 5, 25, 39])
    weight = torch.rand(40, generator=torch.Generator().manual_seed(0)) + 0.5
    weight[rows] = 0.0
    found = []
    for change in (False, True):
        data = make_data(weight=weight)
        if change:
            data.inputs.pixels[rows] = 255 - data.inputs.pixels[rows]
            target = data.target.clone()
            target[rows] = (target[rows] + 1) % 4
            data = dataclasses.replace(data, target=target)
        fit = make_fit(data=data, model=make_model(linear_net))
        fit.train()
        found.append(weights(fit.model))
    assert same(*found)
    unweighted = make_fit(data=make_data(), model=make_model(linear_net))
    unweighted.train()
    assert not same(found[0], weights(unweighted.model))


def test_weights_are_factors_on_the_mean_over_the_batch():
    """Weight 2 for all is twice the learning rate, and weights of 1 are none at all."""
    found = []
    for weight, lr in ((None, 0.1), (torch.ones(40), 0.1), (torch.full((40,), 2.0), 0.05)):
        model = make_model(linear_net)
        make_fit(make_config(lr=lr, **PLAIN), make_data(weight=weight), model).train()
        found.append(weights(model))
    assert same(found[0], found[1])
    torch.testing.assert_close(found[0], found[2], rtol=1e-5, atol=1e-7)


def test_label_smoothing_trains_but_does_not_show():
    seen = Everything()
    plain, smooth = make_fit(), make_fit(make_config(label_smoothing=0.2), recorders=[seen])
    plain.train(1)
    smooth.train(1)
    assert not same(weights(plain.model), weights(smooth.model))
    for obs in seen.seen:
        assert torch.equal(obs.loss, F.cross_entropy(obs.logits, obs.target, reduction="none"))
    # What one step on one batch gives: the target is 0.8 one-hot + 0.2 / C.
    config = make_config(epochs=1, batch_size=40, lr=0.2, schedule="constant", label_smoothing=0.2, **PLAIN)
    model = make_model(linear_net)
    before, data = weights(model), make_data()
    make_fit(config, data, model).train()
    x = normalise(data.inputs.pixels).flatten(1)
    wanted = 0.8 * F.one_hot(data.target, 4) + 0.05
    error = (x @ before["1.weight"].T + before["1.bias"]).softmax(1) - wanted
    torch.testing.assert_close(model[1].bias, before["1.bias"] - 0.2 * error.mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("recorders", [[], [VisitLog()]])
def test_a_diverging_loss_is_an_error(recorders):
    config = make_config(epochs=20, lr=1e30, schedule="constant", nesterov=False)
    with pytest.raises(DpruneError, match=r"training diverged in epoch \d+ .*; lower --lr"):
        make_fit(config, model=make_model(linear_net), recorders=recorders).train()


def test_snapshots_are_the_model_after_those_epochs():
    fit = make_fit(snapshots=frozenset({0, 2}))
    before = weights(fit.model)
    fit.train()
    short = make_fit()
    short.train(2)
    assert fit.kept.keys() == {0, 2}
    assert same(fit.kept[0], before) and same(fit.kept[2], weights(short.model))
    assert not same(fit.kept[2], weights(fit.model))
    # The weights do not depend on them.
    plain = make_fit()
    plain.train()
    assert same(weights(plain.model), weights(fit.model))


def test_visited_order_is_drawn_from_seed_run_and_epoch():
    seen = Everything()
    make_fit(make_config(seed=5), recorders=[seen], run=2).train(1)
    order = torch.cat([obs.index for obs in seen.seen]).tolist()
    assert order == numpy_rng(5, "order", 2, 1).permutation(np.arange(40)).tolist()


def test_rows_that_do_not_take_part_are_never_shown():
    data = dataclasses.replace(make_data(), rows=np.array([0, 3, 21, 22, 33, 38]))
    seen = [Everything(), Everything(Phase.PROBE)]
    row = make_fit(data=data, recorders=seen).train(1)[0]
    for one in seen:
        assert sorted(torch.cat([obs.index for obs in one.seen]).tolist()) == [0, 3, 21, 22, 33, 38]
    assert row["class_visited"] == [2, 2, 1, 1]


def test_info_is_what_recorders_are_started_with():
    started = []

    class Started(Everything):
        def start(self, run):
            super().start(run)
            started.append(run)

    fit = make_fit(recorders=[Started()])
    fit.train(1)
    assert started == [fit.info] and started[0].epochs == 3
    assert make_info(make_data(), 3).samples == 40


def test_dropout_net_really_drops():
    model = make_model(dropout_net).train()
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        assert not torch.equal(model(pixels), model(pixels))


def test_features_of_a_model_without_a_head_are_refused_before_the_first_epoch(tmp_path):
    seen = Everything()
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 8), torch.nn.Flatten())
    fit = make_fit(model=model, recorders=[seen, FeatureLog(tmp_path, 3)])
    with pytest.raises(UsageError, match="no head"):
        fit.train()
    assert not fit.history


def test_a_model_that_cannot_be_compiled_is_no_traceback(monkeypatch):
    def refuse(graph, inputs):
        raise OSError("no compiler here")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=refuse))
    with pytest.raises(DpruneError, match="drop --compile"):
        make_fit(make_config(compile=True)).train()

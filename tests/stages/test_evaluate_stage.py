from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_data import CLASSES, PLACES, VALIDATION_SIZES, make_images, make_keys, write_folder, write_shards
from torch.nn import functional as F  # noqa: N812
from toy_models import dropout_net
from toy_stages import Told, column, make_table, run_evaluate, run_train, table_bytes, training

from dprune_cli.core.config import DataConfig
from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.data.augment import normalise
from dprune_cli.stages.evaluate import over_seeds, split_arguments

LABELS = np.repeat(range(4), VALIDATION_SIZES)


@pytest.fixture(scope="module")
def runs(image_folder, tmp_path_factory):
    """Two runs of other seeds."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        run_train([image_folder], folder / f"run{seed}", config=training(seed=seed))
    return [folder / "run0", folder / "run1"]


def predict(run, seed=1, sizes=VALIDATION_SIZES):
    """Logits of a run's model, computed apart from the stage."""
    model = dropout_net(4).eval()
    model.load_state_dict(load_file(run / "model.safetensors"))
    _, pixels = make_images(sizes, seed)
    with torch.no_grad():
        return model(normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2)))


def test_predictions_losses_and_figures(runs, validation_folder):
    samples, (found,) = run_evaluate(runs[:1], [validation_folder])
    logits = predict(runs[0])
    pred = logits.argmax(1).numpy()
    assert column(found.table, "key") == make_keys(VALIDATION_SIZES) and len(samples) == 12
    assert column(found.table, "pred") == pred.tolist()
    loss = F.cross_entropy(logits, torch.from_numpy(LABELS), reduction="none")
    np.testing.assert_allclose(column(found.table, "loss"), loss.numpy(), rtol=1e-4, atol=1e-6)
    recall = [float((pred == LABELS)[label == LABELS].mean()) for label in range(3)]
    assert 0 < np.mean(recall) < 1
    result = found.as_json()
    assert result == {
        "run": str(runs[0]),
        "samples": 12,
        "accuracy": pytest.approx(float((pred == LABELS).mean())),
        "worst_class": pytest.approx(min(recall)),
        "gap": pytest.approx(max(recall) - min(recall)),
        "std": pytest.approx(float(np.std(recall))),
        "recall": {
            **{name: pytest.approx(one) for name, one in zip(CLASSES, recall, strict=False)},
            "dog": None,
        },
    }
    assert "NaN" not in json.dumps(result, allow_nan=False)
    assert found.table.meta.steps == [{"command": "evaluate", "options": {"run": str(runs[0])}}]
    assert found.table.meta.classes == CLASSES


def test_several_runs(runs, validation_folder):
    _, found = run_evaluate(runs, [validation_folder])
    assert [one.run for one in found] == [str(run) for run in runs]
    for one, run in zip(found, runs, strict=True):
        assert column(one.table, "pred") == predict(run).argmax(1).tolist()
    assert column(found[0].table, "pred") != column(found[1].table, "pred")
    spread = over_seeds(found)
    values = [one.summary.accuracy for one in found]
    assert spread["accuracy"] == {"mean": np.mean(values), "min": min(values), "max": max(values)}
    assert set(spread) == {"accuracy", "worst_class", "gap", "std"}


def test_groups(runs, validation_shards):
    _, (found,) = run_evaluate(runs[:1], [validation_shards], group_field="place")
    keys = make_keys(VALIDATION_SIZES)
    pred = dict(zip(keys, predict(runs[0]).argmax(1).tolist(), strict=True))
    right = {place: [] for place in PLACES}
    for row, key in enumerate(keys):
        right[PLACES[row % 3 == 0]].append(pred[key] == LABELS[row])
    expected = {place: pytest.approx(np.mean(values)) for place, values in right.items()}
    result = found.as_json()
    assert result["group_accuracy"] == expected
    assert result["worst_group"] == pytest.approx(min(np.mean(values) for values in right.values()))
    assert over_seeds([found])["worst_group"]["mean"] == result["worst_group"]
    assert "group" in found.table
    _, (crossed,) = run_evaluate(runs[:1], [validation_shards], group_field="label,place")
    names = crossed.as_json()["group_accuracy"]
    assert len(names) == 5 and crossed.as_json()["worst_group"] == min(
        v for v in names.values() if v is not None
    )
    _, (plain,) = run_evaluate(runs[:1], [validation_shards])
    assert "group_accuracy" not in plain.as_json() and plain.groups is None


def test_shards_and_folders_agree(runs, validation_folder, validation_shards):
    by_key = []
    for data in (validation_folder, validation_shards):
        _, (found,) = run_evaluate(runs[:1], [data])
        by_key.append(dict(zip(column(found.table, "key"), column(found.table, "pred"), strict=True)))
    assert by_key[0] == by_key[1]


def test_the_same_command_gives_the_same_bytes(runs, validation_folder):
    tables = [run_evaluate(runs[:1], [validation_folder], workers=workers)[1][0].table for workers in (1, 3)]
    assert table_bytes(tables[0]) == table_bytes(tables[1])


def test_runs_of_other_classes_are_evaluated_apart(runs, image_folder, validation_folder, tmp_path):
    table = make_table(make_keys(), ["dog", "cat", "bee", "ant"])
    run_train([image_folder], tmp_path / "other", table=table)
    with pytest.raises(DataError, match=r"other knows other classes than .*run0; evaluate them apart"):
        run_evaluate([runs[0], tmp_path / "other"], [validation_folder])
    _, (found,) = run_evaluate([tmp_path / "other"], [validation_folder])
    assert list(found.as_json()["recall"]) == ["dog", "cat", "bee", "ant"]
    assert found.as_json()["recall"]["dog"] is None


def test_runs_of_other_image_sizes(runs, image_folder, validation_folder, tmp_path):
    config = training(model="tiny", epochs=1)
    run_train([image_folder], tmp_path / "large", config=config, reading=DataConfig(image_size=16))
    _, found = run_evaluate([runs[0], tmp_path / "large", runs[1]], [validation_folder])
    for one, run in ((found[0], runs[0]), (found[2], runs[1])):
        assert column(one.table, "pred") == predict(run).argmax(1).tolist()
    _, (alone,) = run_evaluate([tmp_path / "large"], [validation_folder])
    assert column(alone.table, "loss") == column(found[1].table, "loss")


def test_samples_that_cannot_be_used(runs, tmp_path):
    folder = write_folder(tmp_path / "images", VALIDATION_SIZES, seed=1)
    (folder / "ant" / "02.png").write_bytes(b"no image")
    (folder / "emu").mkdir()
    (folder / "emu" / "00.png").write_bytes((folder / "ant" / "01.png").read_bytes())
    _, (found,) = run_evaluate(runs[:1], [folder])
    rows = {row["key"]: row for row in found.table.data.to_pylist()}
    assert rows["ant/02"]["status"] == "decode_error" and rows["emu/00"]["status"] != "ok"
    for key in ("ant/02", "emu/00"):
        assert rows[key]["pred"] is None and rows[key]["loss"] is None
    assert found.as_json()["samples"] == 11
    pred = np.delete(predict(runs[0]).argmax(1).numpy(), 2)
    assert found.summary.accuracy == pytest.approx(float((pred == np.delete(LABELS, 2)).mean()))


def test_what_is_no_run(runs, validation_folder, tmp_path):
    with pytest.raises(DataError, match="this is no run folder"):
        run_evaluate([tmp_path], [validation_folder])
    with pytest.raises(DataError, match="nowhere"):
        run_evaluate(runs[:1], [tmp_path / "nowhere"])
    (tmp_path / "empty" / "ant").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no images"):
        run_evaluate(runs[:1], [tmp_path / "empty"])


def test_arguments_are_runs_first(runs, validation_folder):
    one, two, data = str(runs[0]), str(runs[1]), str(validation_folder)
    assert split_arguments([one, data]) == ([one], [data])
    assert split_arguments([one, two, data, "b.tar"]) == ([one, two], [data, "b.tar"])
    with pytest.raises(DataError, match="typo: this is no run folder"):
        split_arguments(["typo", one])
    with pytest.raises(UsageError, match=f"no DATA after the run {two}"):
        split_arguments([one, two])


def test_validation_beside_a_stream_that_is_kept(tmp_path, validation_folder, monkeypatch):
    """--spool is about the training data on standard input, not about the validation data."""
    shards = write_shards(tmp_path / "shards")

    class Stdin:
        buffer = io.BytesIO((shards / "000000.tar").read_bytes())

        def isatty(self):
            return False

    monkeypatch.setattr(sys, "stdin", Stdin())
    reading = DataConfig(spool=str(tmp_path / "spool"), classes=shards / "classes.txt")
    result = run_train(["-"], tmp_path / "run", val=[validation_folder], reading=reading)
    assert result.summary["samples"] == 20 and 0 <= result.summary["val_accuracy"] <= 1


def test_a_device_that_is_none(runs, validation_folder):
    from dprune_cli.stages.inputs import pick_device

    assert pick_device("cpu").type == "cpu"
    for name in ("gpu", "", "mps", "cpu:x"):
        with pytest.raises(UsageError, match=r"--device .*write cpu, cuda or cuda:1"):
            pick_device(name)


def test_evaluation_counts_its_batches(runs, validation_folder):
    told = Told()
    from dprune_cli.stages.evaluate import EvaluateRequest, evaluate

    request = EvaluateRequest(runs=[str(runs[0])], data=[str(validation_folder)], device="cpu")
    evaluate(request, told)
    assert told.passes == ["evaluate"]

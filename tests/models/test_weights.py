from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.models.build import build_model
from dprune_cli.models.weights import load_weights, save_weights


def tiny(classes=3, seed=0):
    return build_model("tiny", classes, 32, seed=seed)


def test_round_trip(tmp_path):
    path = tmp_path / "model.safetensors"
    model, other = tiny(), tiny(seed=1)
    save_weights(model, path)
    assert load_weights(other, path) == []
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_same_weights_are_the_same_bytes(tmp_path):
    for name in "ab":
        save_weights(tiny(), tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_one_tensor_under_two_names(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    save_weights(model, tmp_path / "m.safetensors")
    assert load_weights(model, tmp_path / "m.safetensors") == []


def test_other_classes_keep_a_fresh_head(tmp_path):
    path = tmp_path / "m.safetensors"
    source, target = tiny(classes=5), tiny(classes=3, seed=1)
    fresh = target.head.weight.clone(), target.head.bias.clone()
    save_weights(source, path)
    assert load_weights(target, path) == ["head.weight", "head.bias"]
    assert torch.equal(target.head.weight, fresh[0]) and torch.equal(target.head.bias, fresh[1])
    assert torch.equal(target.stem[0].weight, source.stem[0].weight)


def test_a_backbone_without_a_head(tmp_path):
    path = tmp_path / "m.safetensors"
    save_weights(tiny(), path)
    stored = load_file(path)
    del stored["head.weight"]
    save_file(stored, path)
    assert load_weights(tiny(seed=1), path) == ["head.weight", "head.bias"]


def altered(tmp_path, change):
    path = tmp_path / "m.safetensors"
    save_weights(tiny(), path)
    stored = load_file(path)
    change(stored)
    save_file(stored, path)
    return path


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda stored: stored.pop("stem.0.weight"), "stem.0.weight is missing"),
        (lambda stored: stored.update(extra=torch.zeros(1)), "the model has no extra"),
        (lambda stored: stored.update({"stem.0.weight": torch.zeros(2)}), r"stem.0.weight has shape \(2,\)"),
    ],
)
def test_a_misfit_names_its_tensor_and_changes_nothing(tmp_path, change, expected):
    path = altered(tmp_path, change)
    model = tiny(seed=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(DataError, match=expected):
        load_weights(model, path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.bin", "model"])
def test_pickles_are_never_loaded(tmp_path, name):
    torch.save(tiny().state_dict(), tmp_path / name)
    with pytest.raises(UsageError, match="pickles are never loaded"):
        load_weights(tiny(), tmp_path / name)


def test_a_pickle_under_another_name_is_refused_too(tmp_path):
    path = tmp_path / "model.safetensors"
    torch.save(tiny().state_dict(), path)
    with pytest.raises(DataError, match="no safetensors file"):
        load_weights(tiny(), path)


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        load_weights(tiny(), tmp_path / "none.safetensors")

"""Settings that make no sense are refused before anything is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dprune_cli.core.config import TrainConfig, read_recipe
from dprune_cli.core.errors import DataError, UsageError


@pytest.mark.parametrize(
    "field, value",
    [
        ("epochs", 0),
        ("batch_size", 1),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("lr_drop", -1.0),
        ("clip_norm", 0.0),
        ("momentum", -0.1),
        ("weight_decay", -1e-4),
        ("warmup", -1.0),
        ("shift", -1),
        ("cutout", -2),
        ("label_smoothing", 1.0),
        ("milestones", "0.5,80"),
        ("milestones", "half"),
    ],
)
def test_a_setting_out_of_range_is_a_usage_error_that_names_its_option(field: str, value: object) -> None:
    config = dataclasses.replace(TrainConfig(), **{field: value})
    with pytest.raises(UsageError, match=f"--{field.replace('_', '-')}"):
        config.check()


def test_the_defaults_are_in_range() -> None:
    TrainConfig().check()


def test_nesterov_needs_momentum() -> None:
    TrainConfig(momentum=0.0, nesterov=False).check()
    with pytest.raises(UsageError, match="--no-nesterov"):
        TrainConfig(momentum=0.0).check()


def test_a_recipe_takes_names_with_hyphens_and_refuses_unknown_ones(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("batch-size = 7\nlr = 0.3\n")
    assert read_recipe(recipe, {"batch_size", "lr"}) == {"batch_size": 7, "lr": 0.3}
    with pytest.raises(UsageError, match="no option 'lr'"):
        read_recipe(recipe, {"batch_size"})
    recipe.write_text("batch-size = ")
    with pytest.raises(DataError, match="no TOML"):
        read_recipe(recipe, {"batch_size"})
    with pytest.raises(DataError, match=r"missing\.toml"):
        read_recipe(tmp_path / "missing.toml", set())

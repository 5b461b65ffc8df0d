from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from dprune_cli.core.errors import UsageError
from dprune_cli.models.build import build_model, default_model, model_names
from dprune_cli.models.head import find_head


def test_listing_names_imports_no_torch():
    code = (
        "import sys; from dprune_cli.models.build import model_names, default_model; model_names();"
        "default_model('cuda'); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("side", [8, 27])
def test_every_model_takes_small_images(name, side):
    model = build_model(name, 3, side, seed=0)
    assert model(torch.zeros(2, 3, side, side)).shape == (2, 3)
    assert find_head(model, 3)[1].out_features == 3


@pytest.mark.parametrize("name", ["tiny", "resnet18"])
def test_photos_are_shrunk_by_the_stem(name):
    model = build_model(name, 3, 96, seed=0)
    assert model(torch.zeros(2, 3, 96, 96)).shape == (2, 3)


def test_resnet_has_the_cifar_stem_for_thumbnails_only():
    small, large = build_model("resnet18", 2, 64, seed=0), build_model("resnet18", 2, 65, seed=0)
    assert small.conv1.kernel_size == (3, 3) and small.conv1.stride == (1, 1)
    assert isinstance(small.maxpool, nn.Identity)
    assert large.conv1.kernel_size == (7, 7) and isinstance(large.maxpool, nn.MaxPool2d)


@pytest.mark.parametrize(("name", "convolutions"), [("vgg16", 13), ("vgg19", 16)])
def test_vgg_depth_counts_its_convolutions_and_three_linear_layers(name, convolutions):
    model = build_model(name, 2, 32, seed=0)
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == convolutions


def test_tiny_is_small():
    assert sum(p.numel() for p in build_model("tiny", 10, 32, seed=0).parameters()) < 100_000


def test_weights_depend_on_the_seed_alone():
    torch.rand(3)
    one, two = (build_model("tiny", 3, 32, seed=5).state_dict() for _ in range(2))
    other = build_model("tiny", 3, 32, seed=6).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_global_random_state_is_untouched():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    build_model("tiny", 3, 32, seed=0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()


def test_default_models():
    assert (default_model("cpu"), default_model("cuda")) == ("tiny", "resnet18")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet17", "try resnet18"),
        ("torchvision:mobilenet_v3_smal", "mobilenet_v3_small"),
        ("torchvision:", "among them resnet18"),
        ("torchvision:fasterrcnn_resnet50_fpn", "no classifier"),
        ("no_such_module:make", "there is no module 'no_such_module'"),
        ("os.no_such_module:make", "there is no module"),
        ("a..b:make", "there is no module"),
        (":make", "there is no module"),
        ("os:no_such_function", "no attribute 'no_such_function'"),
        ("os:", "no attribute ''"),
        ("os:sep", "cannot be called"),
        ("os:getcwd", "cannot be called"),
    ],
)
def test_bad_names_are_explained_in_one_line(name, expected):
    with pytest.raises(UsageError) as caught:
        build_model(name, 3, 32, seed=0)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_too_small_images():
    with pytest.raises(UsageError, match="at least 8"):
        build_model("tiny", 3, 7, seed=0)


@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x0_5", "googlenet"])
def test_torchvision_models(name):
    model = build_model(f"torchvision:{name}", 3, 64, seed=1)
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


def test_a_vision_transformer_gets_the_image_size():
    assert build_model("torchvision:vit_b_32", 3, 64, seed=0).image_size == 64
    with pytest.raises(UsageError, match="cannot take images of 50 pixels"):
        build_model("torchvision:vit_b_32", 3, 50, seed=0)


USER_MODULE = """
import torch
from torch import nn

def make(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))

def nothing(num_classes):
    return {"classes": num_classes}

def broken(num_classes):
    raise RuntimeError("in the user's code")
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "their_models.py").write_text(USER_MODULE)
    (tmp_path / "their_needs.py").write_text("import not_installed_anywhere\n")
    yield "their_models"
    sys.modules.pop("their_models", None)


def test_a_users_own_model_comes_from_the_current_directory(user_module):
    model = build_model(f"{user_module}:make", 5, 8, seed=0)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 5)
    again = build_model(f"{user_module}:make", 5, 8, seed=0)
    assert torch.equal(model[1].weight, again[1].weight)


def test_a_users_mistakes_are_explained(user_module):
    with pytest.raises(UsageError, match=r"returned dict, not a torch\.nn\.Module"):
        build_model(f"{user_module}:nothing", 5, 8, seed=0)
    with pytest.raises(UsageError, match="needs 'not_installed_anywhere'"):
        build_model("their_needs:make", 5, 8, seed=0)
    with pytest.raises(RuntimeError, match="in the user's code"):
        build_model(f"{user_module}:broken", 5, 8, seed=0)

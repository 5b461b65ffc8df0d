"""`evaluate --geometry` and `--tsne`: of the embedding that a model's last layer is fed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow as pa
import pytest
import torch
from feature_files import make_features, write_features
from safetensors.torch import load_file
from tiny_data import SIZES, make_images, make_keys, write_folder
from toy_models import dropout_net
from toy_stages import make_table, run_evaluate, run_train, training

from dprune_cli.core.errors import DataError
from dprune_cli.core.progress import Silent
from dprune_cli.data.augment import normalise
from dprune_cli.metrics.geometry import Geometry, measure
from dprune_cli.report.tsne_plot import draw, write_picture
from dprune_cli.stages import geometry as stage
from dprune_cli.stages.evaluate import EvaluateRequest, evaluate
from dprune_cli.stages.geometry import GeometryRequest
from dprune_cli.stages.tsne import Plane, lay_out

LABELS = np.repeat(range(4), SIZES)
KEYS = make_keys()
# Two of every class but the last, of which none is kept.
KEPT = ["ant/03", "ant/11", "bee/00", "bee/07", "cat/01", "cat/02"]


@pytest.fixture(scope="module")
def run(image_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    run_train([image_folder], path, config=training(epochs=1))
    return path


def embeddings(run, seed=0):
    """(N, 36) what the last layer of a run's model is fed, apart from the stage."""
    model = dropout_net(4).eval()
    model.load_state_dict(load_file(run / "model.safetensors"))
    with torch.no_grad():
        return model[:-1](normalise(torch.from_numpy(make_images(seed=seed)[1]).permute(0, 3, 1, 2)))


def rows_of(keys):
    return torch.tensor([KEYS.index(key) for key in keys])


def look(run, data, progress=None, from_features=None, **options):
    request = EvaluateRequest(
        runs=[str(run)],
        data=[str(word) for word in data],
        from_features=from_features,
        device="cpu",
        geometry=GeometryRequest(**options),
    )
    return evaluate(request, progress or Silent())[1][0]


def near(found: Geometry, expected: Geometry):
    return found.as_json() == pytest.approx(expected.as_json(), rel=1e-5, abs=1e-6)


# --- measures


def test_all_and_kept_samples_in_one_embedding(run, image_folder):
    selection = make_table(KEYS[::-1], keep=pa.array([key in KEPT for key in KEYS[::-1]]))
    found = look(run, [image_folder], table=selection)
    points, label, kept = embeddings(run), torch.from_numpy(LABELS), rows_of(KEPT)
    assert near(found.embedded.all, measure(points, label))
    assert near(found.embedded.kept, measure(points[kept], label[kept]))
    assert (found.embedded.all.samples, found.embedded.kept.samples) == (40, 6)
    assert (found.embedded.all.classes, found.embedded.kept.classes) == (4, 3)
    assert found.as_json()["geometry"]["kept"] == found.embedded.kept.as_json()
    assert json.dumps(found.as_json(), allow_nan=False)


def test_all_else_is_as_without(run, image_folder):
    _, (plain,) = run_evaluate([run], [image_folder])
    found = look(run, [image_folder])
    assert found.table.data.equals(plain.table.data)
    result = found.as_json()
    assert result.pop("geometry").keys() == {"all"} and result == plain.as_json()


def test_features_in_place_of_images(tmp_path):
    write_features(tmp_path / "f.parquet")
    run_train(
        [], tmp_path / "run", from_features=tmp_path / "f.parquet", head="", config=training(model=None)
    )
    selection = make_table(KEYS, keep=pa.array([key in KEPT for key in KEYS]))
    found = look(tmp_path / "run", [], from_features=tmp_path / "f.parquet", table=selection)
    # A head without hidden layers is fed the features, as a layer norm leaves them.
    points = torch.nn.functional.layer_norm(torch.from_numpy(make_features()[1]), (5,))
    label, kept = torch.from_numpy(LABELS), rows_of(KEPT)
    assert near(found.embedded.all, measure(points, label))
    assert near(found.embedded.kept, measure(points[kept], label[kept]))


def test_samples_that_cannot_be_used_are_left_out(run, tmp_path):
    folder = write_folder(tmp_path / "images")
    (folder / "ant" / "00.png").write_bytes(b"no image")
    found = look(run, [folder], table=make_table(KEPT, keep=pa.array([True] * len(KEPT))))
    points, label = embeddings(run), torch.from_numpy(LABELS)
    assert near(found.embedded.all, measure(points[1:], label[1:]))
    assert near(found.embedded.kept, measure(points[rows_of(KEPT)], label[rows_of(KEPT)]))
    with pytest.raises(DataError, match=r"1 of its kept samples are not in DATA, or not usable.*ant/00"):
        look(run, [folder], table=make_table(["ant/00", "ant/01"], keep=pa.array([True, True])))


def test_an_embedding_that_is_not_finite(run, image_folder, monkeypatch):
    take = stage.Embedding.take

    def spoil(self, obs):
        broken = obs.embedding.clone()
        broken[obs.index == 21, 3] = float("nan")
        take(self, dataclasses.replace(obs, embedding=broken))

    monkeypatch.setattr(stage.Embedding, "take", spoil)
    with pytest.raises(DataError, match="embedding of key 'bee/01' is not finite"):
        look(run, [image_folder])


# --- pictures


def test_a_plane_holds_some_samples_by_their_keys(run, image_folder, shard_folder, monkeypatch):
    monkeypatch.setattr(stage, "MOST_POINTS", 25)
    selection = make_table(KEYS, keep=pa.array([key in KEPT for key in KEYS]))
    found = look(run, [image_folder], measures=False, plane=True, table=selection).embedded
    other = look(run, [shard_folder], measures=False, plane=True, table=selection).embedded.plane
    plane = found.plane
    assert found.sets == {} and plane.place.shape == (25, 2) and plane.samples == 40
    assert np.isfinite(plane.place).all() and plane.classes == ["ant", "bee", "cat", "dog"]
    assert plane.label.tolist() == other.label.tolist() and plane.kept.tolist() == other.kept.tolist()
    assert 0 < plane.kept.sum() <= len(KEPT)


def test_clusters_lie_apart_in_a_plane():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], [40, 20, 10])
    points = 30 * rng.normal(size=(3, 60))[label] + rng.normal(size=(70, 60))
    place = lay_out(points.astype(np.float32))
    assert np.array_equal(place, lay_out(points.astype(np.float32)))
    found = measure(torch.from_numpy(place), torch.from_numpy(label))
    assert found.mean_single_linkage > 2 * found.mean_radius


@pytest.mark.parametrize(
    "points",
    [
        np.ones((5, 4)),
        np.arange(7.0)[:, None],
        np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]),
        1e30 * np.eye(6, 9, dtype=np.float32),
        np.repeat(np.eye(2), 4, axis=0),
    ],
    ids=["equal", "one wide", "three", "large", "twice"],
)
def test_odd_points_have_places(points):
    place = lay_out(points)
    assert place.shape == (len(points), 2) and np.isfinite(place).all()


def test_a_plane_begins_with_the_first_two_principal_components(monkeypatch):
    class Begun:
        """A t-SNE that stays where it begins."""

        def __init__(self, size, *, init, perplexity, **_):
            self.begin = init
            assert size == 2 and perplexity == 1

        def fit_transform(self, parts):
            assert parts.shape == (4, 3)
            return self.begin

    monkeypatch.setattr("sklearn.manifold.TSNE", Begun)
    # About (5, 5, 5): 6 across, 3 up, nothing in depth.
    place = lay_out(np.array([[8.0, 5, 5], [2, 5, 5], [5, 6.5, 5], [5, 3.5, 5]]))
    # The deviation of 1, -1, 0, 0 is the root of a half.
    expected = 1e-4 * np.sqrt(2) * np.array([[1, 0], [1, 0], [0, 0.5], [0, 0.5]])
    assert np.abs(place) == pytest.approx(expected) and (place.sum(0) == pytest.approx(0, abs=1e-12))


def plane_of(classes, kept, **options):
    """A plane of unequal classes with these names."""
    label = np.repeat(np.arange(len(classes)), np.arange(len(classes)) % 3 + 1)
    place = np.random.default_rng(1).normal(size=(len(label), 2))
    return Plane(
        place=place,
        label=label,
        kept=None if kept is None else np.arange(len(label)) % 2 == 0,
        classes=classes,
        **{"samples": 5000, **options},
    )


def texts(figure):
    return [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]


def test_markers_tell_kept_from_dropped_and_names_are_shown_as_they_are():
    names = ["_ant", "$x^2$", "a" * 80, "<script>", "b\x1b[2J\n"]
    figure = draw(plane_of(names, kept=True))
    shown, markers = texts(figure)
    assert shown[:2] == ["_ant", "$x^2$"] and shown[3:] == ["<script>", "b\\x1b[2J\\n"]
    assert shown[2].startswith("aaa") and len(shown[2]) == 24
    assert markers == ["5 kept", "4 dropped"]
    dropped, kept = figure.axes[0].collections
    assert (len(dropped.get_offsets()), len(kept.get_offsets())) == (4, 5)
    assert not np.array_equal(dropped.get_paths()[0].vertices, kept.get_paths()[0].vertices)
    assert figure.axes[0].get_title() == "t-SNE of 9 of 5,000 samples"


def test_without_a_table_there_is_one_marker():
    figure = draw(plane_of(["ant", "bee", "cat"], kept=None, samples=6))
    assert texts(figure) == [["ant", "bee", "cat"]]
    assert [len(one.get_offsets()) for one in figure.axes[0].collections] == [0, 6]
    assert figure.axes[0].get_title() == "t-SNE of 6 samples"


def test_many_classes_have_colours_in_a_cycle_and_no_legend():
    figure = draw(plane_of([str(number) for number in range(50)], kept=True))
    assert [names[0].endswith("kept") for names in texts(figure)] == [True]
    colours = {tuple(colour[:3]) for one in figure.axes[0].collections for colour in one.get_facecolors()}
    assert len(colours) == 20


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_same_plane_is_the_same_file(tmp_path, suffix):
    plane = plane_of(["漢", "$", "<b>--", "\udcff"], kept=True)
    for name in ("one", "two"):
        write_picture(plane, tmp_path / f"{name}.{suffix}")
    version = matplotlib.__version__.encode()
    with matplotlib.rc_context({"text.usetex": True, "font.size": 60, "figure.facecolor": "red"}):
        write_picture(plane, tmp_path / f"two.{suffix}", force=True)
    first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("one", "two"))
    assert first == second and b"Created with" not in first and version not in first
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == [f"one.{suffix}", f"two.{suffix}"]

"""What a report says of the embedding of a run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dprune_cli.metrics.geometry import Geometry
from dprune_cli.report import tsne_plot
from dprune_cli.report.blocks import Facts, Figure, Grid
from dprune_cli.report.geometry_section import geometry_section
from dprune_cli.stages.geometry import Embedded
from dprune_cli.stages.tsne import Plane

ALL = Geometry(
    samples=9,
    classes=3,
    dunn_index=0.25,
    mean_adjacent_centre_distance=2.0,
    mean_single_linkage=1.5,
    mean_radius=0.5,
)
KEPT = Geometry(samples=1, classes=1, mean_radius=0.0)


def plane(wide=1.0, high=1.0, count=300, kept=True):
    place = np.random.default_rng(0).uniform(size=(count, 2)) * [wide, high]
    some = np.arange(count) % 3 == 0 if kept else None
    return Plane(
        place=place, label=np.arange(count) % 4, kept=some, classes=["a", "<b>", "c", "d"], samples=5000
    )


def run(embedded, name="run"):
    return SimpleNamespace(run=name, embedded=embedded)


def test_every_measure_has_its_values_and_a_sentence():
    grid, facts = geometry_section([run(Embedded(all=ALL, kept=KEPT))]).blocks
    assert [column.name for column in grid.columns] == ["measure", "all", "kept"]
    assert grid.rows == [
        ["samples", 9, 1],
        ["classes", 3, 1],
        ["Dunn index", 0.25, None],
        ["adjacent centres", 2.0, None],
        ["single linkage", 1.5, None],
        ["radius", 0.5, 0.0],
    ]
    assert list(facts.values) == [row[0] for row in grid.rows]
    assert "as far apart as they were" in grid.caption


def test_without_a_table_there_is_no_column_of_kept_samples():
    grid = geometry_section([run(Embedded(all=ALL))]).blocks[0]
    assert [column.name for column in grid.columns] == ["measure", "all"]
    assert "pruned" not in grid.caption


def test_several_runs_have_a_grid_each_and_nothing_asked_has_no_section():
    section = geometry_section([run(Embedded(all=ALL), "one"), run(None), run(Embedded(all=KEPT), "two")])
    assert [block.title for block in section.blocks] == [
        "How classes lie in the embedding of one",
        "How classes lie in the embedding of two",
        "What the measures say",
    ]
    assert geometry_section([run(None), run(None)]) is None


def test_the_picture_is_part_of_the_page_and_small():
    (figure,) = geometry_section([run(Embedded(plane=plane(count=3000)))]).blocks
    assert isinstance(figure, Figure) and "3,000 of 5,000 samples" in figure.caption
    assert 0 < figure.svg.count("<image") < 3 and "&lt;b&gt;" in figure.svg and ">1,000 kept<" in figure.svg
    assert "#000000" not in figure.svg and len(figure.svg) < 600_000
    assert figure.svg == geometry_section([run(Embedded(plane=plane(count=3000)))]).blocks[0].svg


def test_measures_and_picture_stand_together():
    section = geometry_section([run(Embedded(all=ALL, plane=plane(kept=False)))])
    assert [type(block) for block in section.blocks] == [Grid, Facts, Figure]
    assert "kept" not in section.blocks[2].svg


@pytest.mark.parametrize(("wide", "high"), [(4.0, 3.0), (1.0, 1.0), (2.0, 1.0)])
def test_the_height_of_a_picture_is_that_of_its_points(tmp_path, wide, high):
    tsne_plot.write_picture(plane(wide, high), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        ink = np.asarray(picture.convert("HSV"))[..., 1] > 60
    rows = np.flatnonzero(ink[:, : 7 * 150].any(1))
    assert (rows[-1] - rows[0]) > 0.78 * len(ink)


def test_points_without_any_extent_have_a_picture_too():
    assert tsne_plot.size_of(plane(0.0, 0.0), 9.0)[1] == pytest.approx(
        tsne_plot.size_of(plane(1, 1), 9.0)[1], rel=0.05
    )
    assert tsne_plot.size_of(plane(0.0, 1.0), 9.0) and tsne_plot.size_of(plane(1.0, 0.0), 9.0)[1] > 3


def test_dropped_samples_are_fainter_than_kept_ones():
    dropped, kept = tsne_plot.draw(plane()).axes[0].collections
    assert dropped.get_sizes()[0] < kept.get_sizes()[0] and dropped.get_alpha() < 0.6
    assert kept.get_alpha() is None

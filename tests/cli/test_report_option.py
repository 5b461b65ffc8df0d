"""`--report` of `select`, `train` and `evaluate`: a page beside the other outputs."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from unittest import mock

import pyarrow.parquet as pq
import pytest
from commands import ENVIRONMENT, QUICK, call, must
from graded import SCORES, write

from dprune_cli.cli.app import run
from dprune_cli.report import figures


@pytest.fixture
def quick_plots(monkeypatch):
    """Plots that show nothing, because drawing takes longer than all the rest."""
    monkeypatch.setattr(figures, "draw", lambda *_, **__: "<svg></svg>")


def text_of(page):
    """What a reader sees, and the sources of the pictures."""
    pictures = " ".join(re.findall(r"data:image/\w+", page.read_text()))
    return html.unescape(re.sub(r"<[^>]*>", "", page.read_text())) + pictures


def test_a_selection_of_shards(tmp_path, shard_table):
    page = tmp_path / "report.html"
    must("select", shard_table, "--by random --keep 40% --report", page, "-o", tmp_path / "out")
    # By their titles, whatever is around them.
    text = text_of(page)
    for title in (
        "Kept by class",
        "Kept by group",
        "Pictures by class",
        "Pictures by group",
        "Spread of random",
    ):
        assert title in text
    assert "dprune score" in text and "data:image/jpeg" in text and "16 of 40" in text
    assert pq.read_table(tmp_path / "out")["keep"].to_pylist().count(True) == 16


@pytest.mark.usefixtures("quick_plots")
def test_the_same_selection_has_the_same_page(tmp_path, shard_table):
    for name in ("a.html", "b.html"):
        must(
            "select",
            shard_table,
            "--by random --keep 5 --report",
            tmp_path / name,
            "-o",
            tmp_path / f"{name}.t",
        )
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_foreign_table_has_no_pictures_and_names_are_escaped(tmp_path):
    table = write(tmp_path / "t", scores=SCORES, order=None, steps=[])
    data = pq.read_table(table)
    meta = data.schema.metadata[b"dprune"].replace(b'"ant"', b'"<script>$x^2$</script>"')
    pq.write_table(data.replace_schema_metadata({"dprune": meta}), table)
    page = tmp_path / "report.html"
    must("select", table, "--by grade --keep 20 --report", page, "-o", tmp_path / "out")
    text = text_of(page)
    assert "No pictures are shown" in text and "does not say which files" in text
    text = page.read_text()
    assert "<script>$" not in text and "&lt;script&gt;$x^2$" in text


@pytest.mark.usefixtures("quick_plots")
def test_pictures_are_looked_for_where_the_data_are_now(tmp_path, shard_table, shard_folder, monkeypatch):
    table = tmp_path / "t"
    data = pq.read_table(shard_table)
    meta = data.schema.metadata[b"dprune"].replace(str(shard_folder).encode(), b"elsewhere")
    pq.write_table(data.replace_schema_metadata({"dprune": meta}), table)
    for name, where, shown in (("a", [], False), ("b", ["--data", shard_folder], True)):
        must(
            "select",
            table,
            "--by random --keep 5 --report",
            tmp_path / f"{name}.html",
            "-o",
            tmp_path / name,
            *where,
        )
        assert ("data:image/jpeg" in (tmp_path / f"{name}.html").read_text()) == shown


@pytest.mark.usefixtures("quick_plots")
def test_a_report_is_refused_before_any_work(tmp_path, shard_table):
    page, out = tmp_path / "report.html", tmp_path / "out"
    done = call("select", shard_table, "--by random --keep 5 -o", out, "--report", out)
    assert done.code == 2 and "--output and --report name the same place" in done.line
    page.write_text("mine")
    done = call("select", shard_table, "--by random --keep 5 -o", out, "--report", page)
    assert done.code == 2 and "--force" in done.line and page.read_text() == "mine" and not out.exists()
    must("select", shard_table, "--by random --keep 5 -o", out, "--report", page, "--force")
    with mock.patch("dprune_cli.report.page.find_spec", return_value=None):
        done = call(
            "select", shard_table, "--by random --keep 5 -o", tmp_path / "b", "--report", tmp_path / "c"
        )
    assert done.code == 2 and "pip install" in done.line and not (tmp_path / "b").exists()


@pytest.mark.usefixtures("quick_plots")
def test_a_run_and_its_evaluation(tmp_path, shard_folder, validation_shards):
    run, page = tmp_path / "run", tmp_path / "train.html"
    options = ["--group-field", "place", "--sampler", "rcap", "--keep", "0.5"]
    must(
        "train", shard_folder, "--val", validation_shards, "-o", run, *QUICK, *options, "--report", page, "-q"
    )
    text = text_of(page)
    for title in (
        "Loss",
        "Validation",
        "Summed loss by class",
        "Visits of a sample",
        "suspected label errors",
    ):
        assert title in text
    assert "--sampler rcap" in text
    page = tmp_path / "evaluate.html"
    must("evaluate", run, run, validation_shards, "--geometry --group-field place --report", page, "-q")
    text = text_of(page)
    for title in ("Over 2 runs", "Recall of every class", "Accuracy of every group", "Spread of the loss"):
        assert title in text
    assert text.count("How classes lie in the embedding of") == 2
    assert "confident mistakes" in text and "dprune evaluate" in text and "dprune train" in text


@pytest.mark.parametrize("command", ["select", "train", "evaluate"])
def test_the_option_stands_in_the_help(command):
    assert "--report" in must(command, "--help").out.decode()


@pytest.mark.slow
def test_a_selection_without_a_report_imports_nothing_for_one(tmp_path):
    table = write(tmp_path / "t", scores=SCORES)
    words = ["select", str(table), "--by", "grade", "--keep", "20", "-o", str(tmp_path / "out"), "-q"]
    code = (
        "import sys; from dprune_cli.cli.app import run; code = run(sys.argv[1:]); "
        "print(code, sorted({name.split('.')[0] for name in sys.modules} & {'matplotlib', 'jinja2', 'scipy', "
        "'torch', 'PIL'}), 'dprune_cli.report' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert found.stdout.split("\n")[0] == "0 [] False", found.stderr


@pytest.mark.usefixtures("quick_plots")
def test_a_report_alone_is_enough_on_a_terminal(tmp_path, shard_table, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    words = ["select", str(shard_table), "--by", "random", "--keep", "5", "-q"]
    assert run([*words, "--report", str(tmp_path / "r.html")]) == 0
    assert (tmp_path / "r.html").exists()
    # Without one, the table would be what is asked for, and a terminal gets none.
    assert run(words) == 2

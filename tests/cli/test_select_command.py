from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import call, contents, must
from graded import KEYS, LABELS, RANKS, SCORES, kept, write

from dprune_cli.io.keys import draw_seed, hash_keys
from dprune_cli.pickers.base import PICKERS


def ranked(count, *, low, rows=None):
    """Keys of the `count` lowest or highest grades, by sorting all of them."""
    rows = range(60) if rows is None else rows
    return {KEYS[row] for row in sorted(rows, key=lambda row: RANKS[row] * (1 if low else -1))[:count]}


def select(table, out, *options):
    done = must("select", table, "-o", out, "--force", *options)
    return kept(out), done


@pytest.mark.parametrize(
    ("options", "low"),
    [
        ([], True),
        (["--end", "low"], True),
        (["--end", "high"], False),
        (["--end", "hard"], False),
        (["--end", "easy"], True),
    ],
)
def test_top_keeps_the_end_that_is_asked_for(tmp_path, options, low):
    table = write(tmp_path / "in", scores=SCORES)
    found, _ = select(table, tmp_path / "out", "--by", "grade", "--keep", "17", *options)
    assert found == ranked(17, low=low)


def test_the_end_that_scores_keep_first_is_not_always_the_hard_one(tmp_path):
    for first, hard in (("high", "low"), ("low", "high"), ("high", "high"), ("low", "low")):
        table = write(tmp_path / "in", scores={"grade": {"keep_first": first, "hard_end": hard}})
        found, _ = select(table, tmp_path / "out", "--by", "grade", "--keep", "9")
        assert found == ranked(9, low=first == "low")
        found, _ = select(table, tmp_path / "out", "--by", "grade", "--keep", "9", "--end", "hard")
        assert found == ranked(9, low=hard == "low")


def test_a_users_own_table_needs_no_metadata_and_no_status(tmp_path):
    found, done = select(write(tmp_path / "in"), tmp_path / "out", "--by", "grade", "--keep", "10%")
    assert found == ranked(6, low=False)
    assert "does not say which end of 'grade' to keep: the high one is kept first" in done.err
    result = pq.read_table(tmp_path / "out")
    assert result.column_names == ["key", "label", "grade", "keep", "reason"]
    assert result.schema.field("label").type == pa.int32()
    assert pc.value_counts(result["reason"].cast(pa.string())).to_pylist() != []
    assert set(result.filter(result["keep"])["reason"].to_pylist()) == {None}
    assert set(result.filter(pc.invert(result["keep"]))["reason"].to_pylist()) == {"rank"}


def test_a_users_own_quotas_are_kept_to_exactly(tmp_path):
    quota = np.array([12, 15, 0])[LABELS]
    table = write(tmp_path / "in", {"quota": quota}, SCORES)
    found, done = select(table, tmp_path / "out", "--by", "grade")
    expected = ranked(12, low=True, rows=range(40)) | {KEYS[row] for row in range(40, 55)}
    assert found == expected
    assert "warning: nothing is kept of class cat; quotas with --min-per-class would keep some" in done.err
    for keep in ("27", "45%", "0.45"):  # the same budget once more is no contradiction
        assert select(table, tmp_path / "out", "--by", "grade", "--keep", keep)[0] == expected


def test_quotas_and_a_budget_that_contradict(tmp_path):
    table = write(tmp_path / "in", {"quota": np.array([12, 15, 0])[LABELS]}, SCORES)
    done = call("select", table, "--by", "grade", "--keep", "28", "-o", tmp_path / "out")
    assert done.code == 4 and "--keep 28 is not the 27 that the quotas keep" in done.line
    assert "--global" in done.line
    found, _ = select(table, tmp_path / "out", "--by", "grade", "--keep", "28", "--global")
    assert found == ranked(28, low=True)


@pytest.mark.parametrize(
    ("quota", "code", "said"),
    [
        (np.array([12, 16, 0])[LABELS], 4, "16 samples of 'bee' are to be kept, but only 15 can be picked"),
        (
            np.array([12, 15, -1])[LABELS],
            3,
            "column 'quota' must hold one number of at least 0 for all of 'cat'",
        ),
        (np.arange(60), 3, "column 'quota' must hold one number of at least 0 for all of 'ant'"),
        (np.array([1.5, 2, 2])[LABELS], 3, "column 'quota' is no int64"),
    ],
)
def test_quotas_that_cannot_be_met(tmp_path, quota, code, said):
    table = write(tmp_path / "in", {"quota": quota}, SCORES)
    done = call("select", table, "--by", "grade", "-o", tmp_path / "out")
    assert done.code == code and said in done.line
    assert not (tmp_path / "out").exists()


def test_samples_that_cannot_be_used_are_never_kept(tmp_path):
    status = ["decode_error" if row < 30 else "ok" for row in range(60)]
    grade = [None if row % 10 == 0 else float(RANKS[row]) for row in range(60)]
    table = write(tmp_path / "in", {"status": status, "grade": grade}, SCORES)
    found, _ = select(table, tmp_path / "out", "--by", "grade", "--keep", "27")
    assert found == {KEYS[row] for row in range(30, 60) if row % 10}
    result = pq.read_table(tmp_path / "out")
    reasons = dict(zip(result["key"].to_pylist(), result["reason"].to_pylist(), strict=True))
    assert reasons["s003"] == "status" and reasons["s040"] == "no_score"
    done = call("select", table, "--by", "grade", "--keep", "28", "-o", tmp_path / "out", "--force")
    assert done.code == 4 and "only 27 can be picked" in done.line


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"grade": np.where(LABELS == 2, np.nan, 1.0)}, "column 'grade' holds 5 NaN (first at key 's055')"),
        ({"key": ["s1", *KEYS[1:59], "s1"]}, "1 keys stand in it more than once (first 's1')"),
        ({"label": ["cat"] * 60}, "column 'label' is no int32"),
        ({"label": [None] * 60}, "60 samples with status ok have no label"),
        ({"grade": ["1"] * 60}, "column 'grade' holds string, not numbers"),
    ],
)
def test_tables_with_bad_columns(tmp_path, columns, said):
    table = write(tmp_path / "in", columns, SCORES)
    before = contents(tmp_path)
    done = call("select", table, "--by", "grade", "--keep", "5", "-o", tmp_path / "out")
    assert done.code == 3 and f"{tmp_path}/in: " in done.line and said in done.line
    assert contents(tmp_path) == before


def test_a_table_without_keys_or_of_another_version(tmp_path):
    pq.write_table(pa.table({"grade": [1.0]}), tmp_path / "in")
    done = call("select", tmp_path / "in", "--by", "grade", "--keep", "1", "-o", tmp_path / "out")
    assert done.code == 3 and "there is no column 'key'; it has grade" in done.line
    write(tmp_path / "in", scores=SCORES, version=99)
    done = call("select", tmp_path / "in", "--by", "grade", "--keep", "1", "-o", tmp_path / "out")
    assert done.code == 3 and "table format 99 is newer than this dprune" in done.line


def test_ties_go_by_key_whatever_the_order_of_rows(tmp_path):
    grade = {"grade": np.where(np.arange(60) % 2, 1.0, 2.0)}
    results = {}
    for seed in ("0", "1"):
        for name, order in {"as is": None, "back": np.arange(60)[::-1], "mixed": RANKS}.items():
            table = write(tmp_path / "in", grade, SCORES, order=order)
            results[seed, name], _ = select(
                table, tmp_path / "out", "--by", "grade", "--keep", "20", "--seed", seed
            )
    assert results["0", "as is"] == results["0", "back"] == results["0", "mixed"]
    assert results["1", "as is"] == results["1", "back"] == results["1", "mixed"]
    assert results["0", "as is"] != results["1", "as is"]
    odd = [key for number, key in enumerate(KEYS) if number % 2]
    order = np.argsort(hash_keys(odd, draw_seed(0, hash_keys(KEYS))))
    assert results["0", "as is"] == {odd[row] for row in order[:20]}


def test_random_without_a_column_is_the_random_score(tmp_path, shard_folder):
    for seed in ("0", "7"):
        scored = tmp_path / f"scored{seed}"
        must("score", shard_folder, "-m", "random", "--seed", seed, "-o", scored, "-q")
        plain = pq.read_table(scored).drop_columns("random")
        pq.write_table(plain, tmp_path / "plain")
        by_column, _ = select(scored, tmp_path / "out", "--by", "random", "--pick", "top", "--keep", "13")
        despite_column, _ = select(scored, tmp_path / "out", "--by", "random", "--keep", "13", "--seed", seed)
        by_seed, _ = select(
            tmp_path / "plain", tmp_path / "out", "--by", "random", "--keep", "13", "--seed", seed
        )
        picked, _ = select(
            tmp_path / "plain", tmp_path / "out", "--by offset --keep 13 --pick random --seed", seed
        )
        assert len(by_column) == 13 and by_column == despite_column == by_seed == picked


def test_top_of_nothing_to_rank_by(tmp_path):
    done = call("select", write(tmp_path / "in"), "--by random --keep 5 --pick top -o", tmp_path / "out")
    assert done.code == 2 and "--pick top needs a column; --by random has none" in done.line


def test_a_table_in_parts(tmp_path, monkeypatch):
    whole = pq.read_table(write(tmp_path / "in", scores=SCORES))
    (tmp_path / "parts").mkdir()
    for number, (first, after) in enumerate([(0, 7), (7, 40), (40, 60)]):
        pq.write_table(whole.slice(first, after - first), tmp_path / "parts" / f"{number}.parquet")
    expected, _ = select(tmp_path / "in", tmp_path / "out", "--by", "grade", "--keep", "17")
    for source in (tmp_path / "parts", tmp_path / "parts" / "*.parquet"):
        assert select(source, tmp_path / "out", "--by", "grade", "--keep", "17")[0] == expected
    stream = (tmp_path / "in").read_bytes()
    done = call("select", "-", "--by", "grade", "--keep", "17", "-o", "-", stdin=stream)
    assert done.code == 0
    (tmp_path / "stdout").write_bytes(done.out)
    assert kept(tmp_path / "stdout") == expected
    pq.write_table(whole.rename_columns(["key", "label", "mark"]), tmp_path / "parts" / "3.parquet")
    pq.write_table(whole.set_column(0, "key", pa.array(range(60))), tmp_path / "parts" / "4.parquet")
    done = call(
        "select", tmp_path / "parts", "--by", "grade", "--keep", "17", "-o", tmp_path / "out", "--force"
    )
    assert done.code == 3


def test_what_json_says(tmp_path):
    table = write(tmp_path / "in", {"quota": np.array([12, 15, 0])[LABELS]}, SCORES)
    done = must("select", table, "--by", "grade", "--json")
    assert json.loads(done.out) == {
        "kept": 27,
        "available": 60,
        "smallest_class": "cat",
        "empty_classes": ["cat"],
        "density_recall_correlation": None,
        "classes": {
            "ant": {"available": 40, "kept": 12},
            "bee": {"available": 15, "kept": 15},
            "cat": {"available": 5, "kept": 0},
        },
    }


def test_what_a_person_reads(tmp_path):
    table = write(tmp_path / "in", {"quota": np.array([12, 15, 0])[LABELS]}, SCORES)
    done = must("select", table, "--by", "grade", "-o", tmp_path / "out")
    assert done.out == b""
    assert [line.split() for line in done.err.splitlines()] == [
        ["kept"],
        ["class", "available", "kept", "density"],
        ["ant", "40", "12", "30.0", "%"],
        ["bee", "15", "15", "100.0", "%"],
        ["cat", "5", "0", "0.0", "%"],
        ["kept", "27", "of", "60", "samples;", "smallest", "class", "cat", "with", "0"],
        [
            "warning:",
            "nothing",
            "is",
            "kept",
            "of",
            "class",
            "cat;",
            "quotas",
            "with",
            "--min-per-class",
            "would",
            "keep",
            "some",
        ],
    ]


def test_a_second_selection_replaces_the_first_and_says_so(tmp_path):
    table = write(tmp_path / "in", {}, SCORES)
    select(table, tmp_path / "first", "--by", "grade", "--keep", "50")
    found, done = select(
        tmp_path / "first", tmp_path / "second", "--by", "grade", "--keep", "3", "--end", "low"
    )
    assert "holds a selection already; it is replaced" in done.err
    assert found == select(table, tmp_path / "plain", "--by", "grade", "--keep", "3", "--end", "low")[0]


def test_quotas_drop_an_older_selection(tmp_path):
    table = write(tmp_path / "in", {}, SCORES)
    select(table, tmp_path / "first", "--by", "grade", "--keep", "50")
    must("quota", tmp_path / "first", "--keep", "10", "--method", "uniform", "-o", tmp_path / "quotas", "-q")
    names = pq.read_table(tmp_path / "quotas").column_names
    assert "quota" in names and "keep" not in names and "reason" not in names


# --- pickers and weights


def test_help_names_every_picker():
    text = must("select", "--help").out.decode()
    assert all(name in text for name in PICKERS.names())


def test_methods_lists_every_picker():
    done = must("methods", "picker")
    assert [line.split()[1] for line in done.out.decode().splitlines() if line.startswith("picker")] == [
        "random",
        "stratified",
        "top",
        "weighted",
    ]


def test_ccs_in_one_line(tmp_path):
    scores = {"grade": SCORES["grade"], "aum": {"keep_first": "high", "hard_end": "low"}}
    table = write(tmp_path / "in", {"aum": np.arange(60.0)}, scores)
    pick = "stratified:bins=5,cutoff=0.3"
    found, done = select(table, tmp_path / "out", "--by", "grade", "--keep", "21", "--pick", pick)
    assert "left out 18 of 60 samples, the hardest by 'aum' (low end)" in done.err
    result = pq.read_table(tmp_path / "out")
    assert [row["key"] for row in result.to_pylist() if row["reason"] == "cutoff"] == KEYS[:18]
    rows = np.array([KEYS.index(key) for key in found])
    # The 42 others spread over five bins of about 8; all give 4 and one gives 5.
    grades = RANKS[18:]
    width = (grades.max() - grades.min()) / 5
    bins = np.minimum((RANKS[rows] - grades.min()) // width, 4).astype(int)
    assert sorted(np.bincount(bins).tolist()) == [4, 4, 4, 4, 5]


def test_a_cutoff_that_leaves_too_few(tmp_path):
    table = write(tmp_path / "in", {"aum": np.arange(60.0)}, SCORES)
    options = ["--by", "grade", "--keep", "50", "-o", tmp_path / "out", "--pick"]
    done = call("select", table, *options, "stratified:cutoff=0.2,cutoff_end=low")
    assert done.code == 4
    assert done.line == (
        f"{table}: 50 samples of 'the data set' are to be kept, but only 48 can be picked; the cutoff leaves "
        "out 12: lower it, or keep less"
    )
    done = call("select", table, *options, "stratified:cutoff=0.2")
    assert done.code == 2 and "cutoff_end=high or cutoff_end=low" in done.line
    done = call("select", table, *options, "stratified:cutoff=1")
    assert done.code == 2 and "cutoff=1.0 is no share of at least 0 and below 1" in done.line
    done = call("select", table, *options, "stratified:cutoff=0.1,cutoff_by=nope")
    assert done.code == 3 and "there is no column 'nope' to cut the hardest by; name one" in done.line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--pick stratified --end hard", "--pick stratified keeps no end of a column; drop --end"),
        ("--pick random --end low", "--pick random keeps no end of a column; drop --end"),
        ("--pick weighted --end middle", "give --end high or low"),
        ("--pick weighted:temperature=0", "weighted:temperature=0.0 is no number above 0"),
        ("--pick top:end=low --end low", "--end low and end=low of --pick: give one of them"),
        ("--pick strat", "there is no picker called 'strat'; try stratified"),
    ],
)
def test_pickers_that_make_no_sense(tmp_path, options, said):
    table = write(tmp_path / "in", scores=SCORES)
    done = call("select", table, "--by grade --keep 5", options, "-o", tmp_path / "out")
    assert done.code == 2 and said in done.line
    assert not (tmp_path / "out").exists()


def test_weights_stand_in_the_table(tmp_path):
    table = write(tmp_path / "in", scores=SCORES)
    select(table, tmp_path / "out", "--by", "random", "--keep", "15", "--weight-by", "grade")
    result = pq.read_table(tmp_path / "out")
    values = np.array(result.filter(result["keep"])["grade"])
    assert np.array(result.filter(result["keep"])["weight"]) == pytest.approx(values / values.mean())
    assert result.filter(pc.invert(result["keep"]))["weight"].null_count == 45
    assert result.schema.field("weight").type == pa.float32()
    step = json.loads(result.schema.metadata[b"dprune"])["steps"][-1]["options"]
    assert step["weight_by"] == "grade"
    done = call("select", table, "--by random --keep 5 --json --weight-by grade")
    assert done.code == 2 and "--weight-by writes a column of the table; give -o FILE" in done.line
    bad = write(tmp_path / "bad", {"grade": -1.0 - RANKS}, SCORES)
    done = call("select", bad, "--by grade --keep 5 --weight-by grade -o", tmp_path / "none")
    assert done.code == 3 and f"{bad}: column 'grade' has the value -" in done.line
    assert not (tmp_path / "none").exists()

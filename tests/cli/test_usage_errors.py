from __future__ import annotations

import pytest
from commands import QUICK, call, contents, must

KEEP = ["--keep", "5"]


def paths(shard_table, folder_table, shard_folder, image_folder, tmp_path):
    return {
        "TABLE": shard_table,
        "FOLDER_TABLE": folder_table,
        "SHARDS": shard_folder,
        "IMAGES": image_folder,
        "TMP": tmp_path,
        "OUT": tmp_path / "out",
    }


@pytest.fixture
def fill(shard_table, folder_table, shard_folder, image_folder, tmp_path):
    """Words of a command line, with the places of this test filled in."""
    known = paths(shard_table, folder_table, shard_folder, image_folder, tmp_path)

    def filled(text):
        for name, path in sorted(known.items(), key=lambda item: -len(item[0])):
            text = text.replace(name, str(path))
        return text.split()

    return filled


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("score", 2, "--method"),
        ("score -m random -o OUT", 2, "name the DATA to score"),
        ("score IMAGES -o OUT", 2, "--method"),
        ("score nothing -m random -o OUT", 3, "nothing: there is no such file or folder"),
        ("score IMAGES -m el2nn -o OUT", 2, "no score called 'el2nn'; try el2n"),
        ("score IMAGES -m el2n:epok=3 -o OUT", 2, "score el2n has no parameter 'epok'; it has epoch"),
        ("score IMAGES -m el2n:epoch=x -o OUT", 2, "score el2n:epoch=x is no int"),
        ("score IMAGES -m el2n:epoch -o OUT", 2, "'epoch' is no parameter: write param=value"),
        ("score IMAGES -m random -m random -o OUT", 2, "random is asked for twice"),
        ("score IMAGES -m el2n --epochs 0 -o OUT", 2, "--epochs 0: it must be positive"),
        ("score IMAGES -m el2n --epochs x -o OUT", 2, "'--epochs'"),
        ("score IMAGES -m el2n --device tpu -o OUT", 2, "--device tpu: write cpu, cuda or cuda:1"),
        ("score IMAGES -m el2n --runs 0 -o OUT", 2, "--runs 0"),
        ("score IMAGES -m el2n --schedule linear -o OUT", 2, "'linear' is not one of 'cosine', 'step'"),
        ("score pipe:ls -m random -o OUT", 2, "is a command"),
        ("score https://me:word@host/a.tar -m random -o OUT", 2, "holds credentials"),
        ("score IMAGES -m random --label-field label -o OUT", 2, "--label-field is for shards"),
        ("score IMAGES -m random --max-errors many -o OUT", 2, "--max-errors many"),
        ("quota TABLE", 2, "give --keep and --method"),
        ("quota TABLE --keep 5 --method dropp -o OUT", 2, "no quota method called 'dropp'; try drop"),
        ("quota TABLE --keep 5 --method drop -o OUT", 2, "dprune evaluate RUN VAL -o val.parquet"),
        ("quota TABLE --keep 5 --method uniform --by place -o OUT", 2, "'place' is not one of 'class'"),
        ("quota TABLE --keep 5 --method uniform --quotas OUT.txt -o OUT", 2, ".parquet, .csv, .json"),
        ("quota TABLE --keep 5 --from OUT.csv -o OUT", 2, "--from says all quotas itself"),
        ("quota - --keep 5 --method drop --val - -o OUT", 2, "only one table can come from standard input"),
        ("quota FOLDER_TABLE --keep 5 --method uniform --by group -o OUT", 3, "no column 'group'"),
        ("quota TABLE --keep 5 --method score:by=el2n -o OUT", 3, "no column 'el2n'; it has key, label"),
        ("quota TABLE --keep 5 --method loss -o OUT", 3, "there is no column 'loss'"),
        ("quota TABLE --keep 3 --method uniform --min-per-class 1 -o OUT", 4, "--min-per-class 1 needs 4"),
        ("select TABLE --keep 5 -o OUT", 2, "--by"),
        ("select TABLE --by random -o OUT", 2, "give --keep, or a table with quotas"),
        (
            "select TABLE --by random --keep 5 --pick best -o OUT",
            2,
            "no picker called 'best'; try random, stratified, top, weighted",
        ),
        ("select TABLE --by random --keep 5 --end up -o OUT", 2, "'up' is not one of 'high', 'low'"),
        ("select TABLE --by key --keep 5 -o OUT", 3, "column 'key' holds string, not numbers"),
        ("select TABLE --by el2n --keep 5 -o OUT", 3, "there is no column 'el2n'; it has key, label"),
        ("select TABLE --by random --keep 5 --end hard -o OUT", 2, "--by random has no end"),
        ("select nothing --by random --keep 5 -o OUT", 3, "nothing: there is no such table"),
        ("select TMP --by random --keep 5 -o OUT", 3, "the folder holds no .parquet file"),
        ("select IMAGES/ant/00.png --by random --keep 5 -o OUT", 3, "this is no Parquet file"),
        ("select TABLE --by random --keep 5 --json -o -", 2, "cannot take both --json"),
        ("select TABLE --by random --keep 5 --shards - -o -", 2, "cannot take both the table and the shards"),
        ("select TABLE --by random --keep 5 --shard-samples 0 --shards OUT", 2, "--shard-samples"),
        ("train -o OUT", 2, "name the DATA to train on"),
        ("train IMAGES", 2, "--output"),
        ("train nothing -o OUT", 3, "nothing: there is no such file or folder"),
        ("train IMAGES -o OUT --model tinny", 2, "tiny"),
        ("train IMAGES -o OUT --weighter cdb", 2, "no weighter called 'cdb'; try cdb_w"),
        ("train IMAGES -o OUT --weighter cdb_w", 2, "give --val DATA"),
        ("train - -o OUT --table -", 2, "cannot both come from standard input"),
        ("train IMAGES -o OUT --table nothing", 3, "nothing: there is no such table"),
        ("evaluate nothing IMAGES", 3, "nothing: this is no run folder"),
        ("evaluate IMAGES IMAGES", 3, "this is no run folder"),
        ("evaluate", 2, "RUN"),
        (
            "methods scores",
            2,
            "no kind of method called 'scores'; kinds are score, quota, picker, sampler, weighter",
        ),
        ("selekt TABLE", 2, "did you mean 'select'"),
        ("select TABLE --bye random", 2, "--by"),
    ],
)
def test_a_senseless_command_is_one_line_and_writes_nothing(fill, tmp_path, command, code, said):
    done = call(*fill(command))
    assert done.code == code, done.err
    assert said.lower() in done.line.lower()
    assert done.out == b"" and contents(tmp_path) == {}


@pytest.mark.parametrize("command", ["select TABLE --by random", "quota TABLE --method uniform"])
@pytest.mark.parametrize(
    ("keep", "code", "said"),
    [
        ("0", 4, "--keep 0 keeps none of 40 samples"),
        ("0.0", 4, "--keep 0.0 keeps none of 40 samples"),
        ("0.01", 4, "--keep 0.01 keeps none of 40 samples"),
        ("41", 4, "--keep 41 asks for 41 samples, but there are only 40"),
        ("1.5", 4, "--keep 1.5 is more than everything"),
        ("101%", 4, "--keep 101% is more than everything"),
        ("abc", 2, "--keep abc: write a fraction (0.3 or 30%) or a count (5000)"),
        ("-1", 2, "--keep -1: write a fraction"),
        ("nan", 2, "--keep nan: write a fraction"),
        ("", 2, "write a fraction"),
    ],
)
def test_budgets_that_make_no_sense(fill, tmp_path, command, keep, code, said):
    done = call(*fill(command), "--keep", keep, "-o", tmp_path / "out")
    assert done.code == code and said in done.line
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("keep", "count"), [("1", 1), ("1.0", 40), ("100%", 40), ("40", 40), ("0.0375", 2), ("12.5%", 5)]
)
def test_budgets_are_exact(shard_table, tmp_path, keep, count):
    done = must("select", shard_table, "--by", "random", "--keep", keep, "-o", tmp_path / "out")
    assert f"kept {count} of 40 samples" in done.err


def test_outputs_that_exist_stay_as_they_are(fill, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("mine")
    before = contents(tmp_path)
    for command in (
        "score IMAGES -m random -o TMP/file",
        "score IMAGES -m random -o TMP/new --save-model TMP/folder",
        "score IMAGES -m random -o TMP/new --record-trajectory TMP/file",
        "quota TABLE --keep 5 --method uniform -o TMP/file",
        "quota TABLE --keep 5 --method uniform -o TMP/new --quotas TMP/file.csv",
        "select TABLE --by random --keep 5 -o TMP/file",
        "select TABLE --by random --keep 5 -o TMP/new --shards TMP/folder",
        "select TABLE --by random --keep 5 -o TMP/new --folder TMP/folder",
        "select TABLE --by random --keep 5 -o TMP/new --keys TMP/file",
        "train IMAGES -o TMP/folder",
    ):
        if "file.csv" in command:
            (tmp_path / "file.csv").write_text("mine")
            before = contents(tmp_path)
        done = call(*fill(command))
        assert done.code == 2, command
        assert "exists already; give --force to replace it" in done.line
        assert contents(tmp_path) == before, command


def test_an_output_of_the_other_kind_is_refused_even_with_force(fill, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    for command, said in {
        "select TABLE --by random --keep 5 -o TMP/empty": "empty is a folder; name a file",
        "select TABLE --by random --keep 5 --keys TMP/empty": "empty is a folder; name a file",
        "select TABLE --by random --keep 5 --shards TMP/file": "file is a file; name a folder",
        "select TABLE --by random --keep 5 --folder TMP/file": "file is a file; name a folder",
        "score IMAGES -m random -o TMP/empty": "empty is a folder; name a file",
        "score IMAGES -m random -o TMP/new --save-model TMP/file": "file is a file; name a folder",
        "train IMAGES -o TMP/file": "file is a file; name a folder",
    }.items():
        done = call(*fill(command), "--force")
        assert done.code == 2 and said in done.line
    assert list(contents(tmp_path)) == [str(tmp_path / "file")] and (tmp_path / "empty").is_dir()


@pytest.mark.parametrize(
    "command",
    [
        "score IMAGES -m el2n -o TMP/file/out",
        "score IMAGES -m el2n -o TMP/new --save-model TMP/file/out",
        "quota TABLE --keep 5 --method uniform -o TMP/file/out",
        "quota TABLE --keep 5 --method uniform -o TMP/new --quotas TMP/file/out.csv",
        "select TABLE --by random --keep 5 -o TMP/file/out",
        "select TABLE --by random --keep 5 -o TMP/new --shards TMP/file/out",
        "select TABLE --by random --keep 5 -o TMP/new --folder TMP/file/a/out",
        "select TABLE --by random --keep 5 -o TMP/new --keys TMP/file/out",
        "train IMAGES -o TMP/file/out",
    ],
)
def test_an_output_that_cannot_be_written_is_found_before_the_work(fill, tmp_path, monkeypatch, command):
    monkeypatch.setattr("dprune_cli.io.dataset._read_parts", None)  # reading DATA would fail
    (tmp_path / "file").write_text("mine")
    done = call(*fill(command))
    assert done.code == 1
    assert f"cannot write {tmp_path}/file/" in done.line and "file is a file, not a folder" in done.line
    assert list(contents(tmp_path)) == [str(tmp_path / "file")]


def test_a_place_where_nothing_may_be_written(fill, tmp_path, monkeypatch):
    # The superuser may write everywhere, so the answer of the system is given here.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    done = call(*fill("score IMAGES -m el2n -o TMP/deep/out"))
    assert done.code == 1
    assert done.line == f"cannot write {tmp_path}/deep/out: nothing may be written in {tmp_path}"


def test_devices_are_never_replaced(fill):
    done = call(*fill("select TABLE --by random --keep 5 -o /dev/null --force"))
    assert done.code == 2 and "/dev/null is a device or a pipe; write to - and redirect that" in done.line


@pytest.mark.parametrize("option", ["--shards", "--folder"])
def test_force_never_replaces_what_is_read(
    shard_table, shard_folder, image_folder, folder_table, tmp_path, option
):
    before = contents(shard_folder, image_folder)
    for table, output in (
        (shard_table, shard_folder),
        (shard_table, shard_folder.parent),
        (folder_table, image_folder),
        (folder_table, image_folder / "ant"),
    ):
        done = call("select", table, "--by", "random", *KEEP, option, output, "--force", "-q")
        assert done.code == 2 and f"{output} would replace" in done.line
    done = call("train", image_folder, "-o", image_folder.parent, "--force", *QUICK)
    assert done.code == 2 and "would replace" in done.line
    assert contents(shard_folder, image_folder) == before


def test_force_never_replaces_the_folder_one_is_in(shard_table, tmp_path, monkeypatch):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    for output in (".", "..", tmp_path):
        done = call("select", shard_table, "--by", "random", *KEEP, "--shards", output, "--force")
        assert done.code == 2 and "is the folder you are in" in done.line
    assert (tmp_path / "mine").read_text() == "mine"


def test_force_follows_a_link_to_the_file_it_means(shard_table, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "table").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "table")
    must("select", shard_table, "--by", "random", *KEEP, "-o", tmp_path / "link", "--force")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "table").read_bytes().startswith(b"PAR1")
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["table"]

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from parquet_cases import features, files, quotas, score_table, trajectory

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.errors import DpruneError
from dprune_cli.core.progress import Silent
from dprune_cli.io.features import read_features, recorded_keys
from dprune_cli.io.table import ScoreTable, TableMeta, read_table, write_table
from dprune_cli.io.trajectory import Trajectory
from dprune_cli.stages.quota import QuotaRequest, quota
from dprune_cli.stages.select import SelectOutputs, SelectRequest, select
from dprune_cli.stages.select_kept import write_kept

FEW_AND_MANY = pytest.mark.parametrize("cases", [25, pytest.param(1500, marks=pytest.mark.slow)])


def attempt(work):
    """What `work` gives, or None if it was refused in one line."""
    try:
        return work()
    except DpruneError:
        return None


@FEW_AND_MANY
def test_tables_are_used_or_refused(cases, fuzz, place):
    def check(raw, method, by, pick, column):
        path = place / "t.parquet"
        path.write_bytes(raw)
        table = attempt(lambda: read_table(str(path)))
        if table is None:
            return
        keep = parse_budget("2")
        validation = [str(path)] if method == "drop" else []
        request = QuotaRequest(method=method, keep=keep, by=by, validation=validation)
        quoted = attempt(lambda: quota(table, request, Silent())[0])
        if quoted is not None:
            write_table(quoted, str(place / "q.parquet"))
            again = read_table(str(place / "q.parquet"))
            assert again.data["quota"].equals(quoted.data["quota"])
        for one in (table, quoted):
            if one is None:
                continue
            wanted = SelectRequest(by=column, keep=keep, pick=pick)
            found = attempt(lambda one=one, wanted=wanted: select(one, wanted, Silent()))
            if found is None:
                continue
            assert found.keep.sum() == 2 and not (found.keep & ~one.ok()).any()
            write_table(found.table, str(place / "s.parquet"), force=True)
            outputs = SelectOutputs(
                shards=str(place / "out"), folder=place / "images", keys=place / "keys.txt"
            )
            attempt(lambda found=found, outputs=outputs: write_kept(found, outputs))
            assert not (place / "out").exists() and not (place / "images").exists()

    methods = st.sampled_from(("uniform", "drop", "loss", "balanced", "score:by=el2n", "longtail:factor=3"))
    picks = st.sampled_from((None, "top", "random", "stratified", "weighted"))
    columns = st.sampled_from(("el2n", "random", "loss", "label", "key"))
    fuzz(check, cases, files(score_table), methods, st.sampled_from(("class", "group")), picks, columns)


@FEW_AND_MANY
def test_several_part_files_are_joined_or_refused(cases, fuzz, place):
    def check(first, second):
        (place / "1.parquet").write_bytes(first)
        (place / "2.parquet").write_bytes(second)
        table = attempt(lambda: read_table(str(place)))
        if table is not None:
            attempt(lambda: write_table(table, str(place / "both.parquet")))

    fuzz(check, cases // 3, files(score_table), files(score_table))


@FEW_AND_MANY
def test_features_are_read_or_refused(cases, fuzz, place):
    def check(raw):
        path = place / "f.parquet"
        path.write_bytes(raw)
        attempt(lambda: recorded_keys(path))
        found = attempt(lambda: read_features(path))
        if found is None:
            return
        count = len(found.keys)
        assert count and len(found.labels) == len(found.features) == count
        assert np.isfinite(found.features).all() and (found.labels >= 0).all()
        assert found.group is None or (found.group < len(found.groups)).all()
        assert found.labels.max() < found.count_classes()

    fuzz(check, cases, files(features))


@FEW_AND_MANY
def test_trajectories_are_read_or_refused(cases, fuzz, place):
    def read(path):
        recorded = Trajectory(path)
        for run in recorded.runs:
            for _, rows, logits in recorded.read(run):
                assert logits.shape == (len(rows), recorded.classes) and np.isfinite(logits).all()
        return recorded

    def check(raw):
        path = place / "t.parquet"
        path.write_bytes(raw)
        found = attempt(lambda: read(path))
        assert found is None or (found.labels >= 0).all()

    fuzz(check, cases, files(trajectory))


@FEW_AND_MANY
def test_quotas_in_parquet_are_applied_or_refused(cases, fuzz, place):
    table = ScoreTable(score_table(), TableMeta(classes=["x", "y", "z"]))

    def check(raw):
        path = place / "q.parquet"
        path.write_bytes(raw)
        found = attempt(lambda: quota(table, QuotaRequest(edited=path), Silent()))
        assert found is None or (found[1].quota <= found[1].available).all()

    fuzz(check, cases // 2, files(quotas))

from __future__ import annotations

import dataclasses
import string

import numpy as np
import pytest
from hypothesis import strategies as st

from dprune_cli.core.budget import parse_budget
from dprune_cli.core.errors import DpruneError
from dprune_cli.data.memory import parse_memory
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.sources import expand
from dprune_cli.pickers.base import EndPicker
from dprune_cli.quotas.base import QuotaInput, Validation, quotas_for
from dprune_cli.stages.methods import KINDS


def few_and_many(many):
    return pytest.mark.parametrize("cases", [25, pytest.param(many, marks=pytest.mark.slow)])


NUMBERS = (
    "0", "1", "2", "-1", "0.5", "30%", "100%", "1e308", "1e309", "-1e309", "nan", "inf", "-inf", "1e-320",
    "9" * 30, "9" * 5000, "0x10", "1_000", "\u0661", "½", " 1 ", "+1", "--1", "1.", ".5", "-0.0", "%", "1%%",
    "none", "None",
    "true", "no", "", "\0", "1\n", "\ud800", "high", "low", "random", "el2n",
)  # fmt: skip
value = st.one_of(
    st.sampled_from(NUMBERS), st.floats().map(str), st.integers(-3, 1000).map(str), st.text(max_size=6)
)
FIELDS = sorted(
    {
        (kind, name, field.name)
        for kind, registry in KINDS.items()
        for name in registry.names()
        for field in dataclasses.fields(registry.get(name))
    }
)
METHODS = sorted({(kind, name) for kind, registry in KINDS.items() for name in registry.names()})


@st.composite
def specs(draw):
    """A kind of method, and what somebody may write for one."""
    kind, name = draw(st.sampled_from(METHODS))
    known = [field for of, method, field in FIELDS if (of, method) == (kind, name)]
    parameter = st.sampled_from([*known, "epoch", "keep", "by", "", " "]) if known else st.text(max_size=3)
    given = draw(st.lists(st.tuples(parameter, value), max_size=3))
    name = draw(
        st.sampled_from((name, name, name, name, name, f" {name}", f"{name}\0", "base", "_top", "../x", ""))
    )
    spec = ":".join([name, ",".join(f"{key}={text}" for key, text in given)]) if given else name
    return kind, spec + draw(st.sampled_from(("", "", "", "", ":", ",", "=", ":a", ",,", ":=1")))


def given_quota(names, rng):
    """What a quota rule may look at: three strata of 5, 3 and 1 samples."""
    available = np.array([5, 3, 1])
    stratum = np.repeat(np.arange(3), available)
    return QuotaInput(
        total=6,
        names=names,
        available=available,
        stratum=stratum,
        validation=(Validation(np.array([1, 0, 0]), np.array([4, 2, 0])),),
        column=lambda name: rng.normal(size=9),
        tie=lambda rows: rows.astype(np.uint64),
        keep_first=lambda name: "high",
        classes=None,
    )


@few_and_many(4000)
def test_methods_are_made_and_used_or_refused(cases, fuzz):
    rng = np.random.default_rng(0)

    def check(asked):
        kind, spec = asked
        try:
            method = KINDS[kind].make(spec)
            if kind == "quota":
                given = given_quota(["a", "b", "c"], rng)
                quotas = quotas_for(method, given).quotas
                assert quotas.sum() == 6 and (quotas <= given.available).all() and (quotas >= 0).all()
            elif kind == "picker":
                cutoff = method.leave_out()
                assert cutoff is None or 0 <= cutoff.share < 1
                if isinstance(method, EndPicker) and method.end is None:
                    method = dataclasses.replace(method, end="high")
                values = rng.normal(size=9) if method.needs_values else None
                rows = method.pick(values, 4, lambda rows: rows.astype(np.uint64), 9)
                assert len(set(rows.tolist())) == 4 and rows.min() >= 0 and rows.max() < 9
            elif kind == "score":
                method.recorders(5)
                method.sequel(5)
        except DpruneError as error:
            assert "\n" not in str(error) or "\n" in spec

    fuzz(check, cases, specs())


@few_and_many(2000)
def test_budgets_are_between_one_and_all_or_refused(cases, fuzz):
    texts = st.one_of(value, st.text("0123456789.%-+eE_ ", max_size=24))

    def check(text, available):
        try:
            count = parse_budget(text).count(available)
        except DpruneError:
            return
        assert 1 <= count <= available

    fuzz(check, cases, texts, st.integers(0, 10**12))


@few_and_many(500)
def test_amounts_of_memory_are_amounts_or_refused(cases, fuzz):
    texts = st.one_of(value, st.text("0123456789.kKMGTiB ", max_size=24))

    def check(text):
        try:
            amount = parse_memory(text, "--cache-memory")
        except DpruneError:
            return
        assert amount >= 0

    fuzz(check, cases, texts)


PIECES = (
    "{", "}", "{", "}", ",", "..", "{0..9}", "{000..999}", "{0..99999}", "{a..z}", "{a,b}", "{a,b,c}",
    "{9..0..3}", "{1..9..0}", "{z..A}", "{-5..5}", "{1..99999999}", "\\", "a", ".tar", "/", "*", "~", "$(ls)",
    "pipe:ls",
    "://", "http://x", "s3://b", "-", "\0", "\n", "\ud800", "{\u0660..\u0669}", "..", "%", "&", "|",
)  # fmt: skip
words = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.text("{},.0123456789a", max_size=30),
    st.text(max_size=12),
    st.tuples(
        st.sampled_from(("{", "{a,", "{{a,b}", "{0..9}")), st.integers(1, 3000), st.sampled_from(("", "}"))
    ).map(lambda part: part[0] * part[1] + part[2] * part[1]),
)


@few_and_many(2500)
def test_words_for_data_expand_or_are_refused(cases, fuzz, place, monkeypatch):
    monkeypatch.chdir(place)

    def check(word):
        try:
            paths = expand(word)
        except DpruneError:
            return
        assert 1 <= len(paths) <= 100_000
        if len(paths) < 10 and len(word) < 100 and word[:1] not in "/-." and "://" not in word:
            with pytest.raises(DpruneError):
                open_samples([word])

    fuzz(check, cases, words)


@few_and_many(500)
def test_paths_of_any_characters_are_refused_where_nothing_is(cases, fuzz, place, monkeypatch):
    monkeypatch.chdir(place)
    texts = st.text(string.printable + "\0\x1b\ud800é", min_size=1, max_size=300)

    def check(word):
        if "/" in word or set(word) <= {".", "-"}:
            return
        with pytest.raises(DpruneError):
            open_samples([word])

    fuzz(check, cases, texts)

from __future__ import annotations

import pytest

from dprune_cli.core.errors import DataError, UsageError
from dprune_cli.io.trajectory import BOTH, Pass
from dprune_cli.stages.plan import Recording, check_recorded, make_scores, plan_runs
from dprune_cli.train.recorders import VisitMean


def plan(*specs, epochs=30, runs=None, **options):
    return plan_runs(make_scores(specs), epochs, runs, **options)


def served(plans):
    return [[score.info.name for score in one.needs] for one in plans]


def test_el2n_takes_five_short_runs_and_aum_one_whole_run():
    plans = plan("el2n", "aum")
    assert [one.number for one in plans] == [0, 1, 2, 3, 4]
    assert [one.last_epoch for one in plans] == [30, 10, 10, 10, 10]
    assert served(plans) == [["el2n", "aum"], *[["el2n"]] * 4]
    assert [len(one.recorders) for one in plans] == [2, 1, 1, 1, 1]
    assert [one.last_epoch for one in plan("el2n")] == [10] * 5
    assert [one.last_epoch for one in plan("el2n:epoch=2")] == [2] * 5
    assert [one.last_epoch for one in plan("entropy")] == [30]


def test_equal_recorders_become_one():
    # EL2N after the last epoch and entropy watch the same pass, but not the same number.
    (first, *_) = plan("el2n:epoch=30", "entropy", "aum", "forgetting")
    assert len(first.recorders) == 4
    scores = make_scores(["aum", "dyn_unc"])
    aum = type(scores[0])

    class Margin(aum):
        """A second score that watches what AUM watches."""

    both = plan_runs([scores[0], Margin(), scores[1]], 30, None)
    assert len(both) == 1 and len(both[0].needs) == 3 and len(both[0].recorders) == 2
    first, second = (both[0].needs[score]["margins"] for score in (scores[0], Margin()))
    assert first is second and isinstance(first, VisitMean)


def test_runs_can_be_asked_for():
    assert served(plan("el2n", "aum", runs=2)) == [["el2n", "aum"]] * 2
    assert served(plan("el2n", runs=1)) == [["el2n"]]
    assert served(plan("el2n", "aum", runs=7))[6] == ["el2n", "aum"]


def test_a_score_that_watches_nothing_takes_no_training():
    (only,) = plan("random", runs=4)
    assert only.last_epoch == 0 and only.recorders == () and len(only.needs) == 1
    assert served(plan("random", "el2n", runs=2)) == [["random", "el2n"], ["el2n"]]


def test_whoever_wants_the_model_gets_a_whole_first_run():
    assert [one.last_epoch for one in plan("el2n", whole_first=True)] == [30, 10, 10, 10, 10]
    assert [one.last_epoch for one in plan("random", whole_first=True)] == [30]


def test_a_recording_caps_the_papers_number_but_not_the_users():
    assert len(plan("el2n", at_most=2)) == 2
    assert len(plan("el2n", at_most=9)) == 5
    assert len(plan("el2n", runs=3, at_most=2)) == 3


def test_mistakes_are_found_before_any_training():
    with pytest.raises(UsageError, match="aum is asked for twice"):
        make_scores(["aum", "el2n", "aum"])
    with pytest.raises(UsageError, match="asked for twice, but a table has one column 'el2n'"):
        make_scores(["el2n:epoch=1", "el2n:epoch=2"])
    with pytest.raises(UsageError, match=r"no score called 'aom'; try .*aum"):
        make_scores(["aom"])
    with pytest.raises(UsageError, match="el2n has no parameter 'epochs'"):
        make_scores(["el2n:epochs=3"])
    with pytest.raises(UsageError, match="windows of 10 epochs, this run has 9"):
        plan("aum", "dyn_unc", epochs=9)


def passes(runs, epochs, phases):
    return [Pass(run, epoch, phase) for run in runs for epoch in epochs for phase in phases]


def check(plans, logits, epochs=3, **more):
    runs = sorted({one.run for one in logits})
    check_recorded(plans, Recording("T", epochs, runs, logits, **more))


def test_a_recording_must_hold_what_is_watched():
    train = passes([4], [1, 2, 3], ["train"])
    check(plan("aum", "forgetting", epochs=3), train)
    check(plan("aum", "entropy", epochs=3), passes([0], [1, 2, 3], [BOTH]))
    check(plan("entropy", epochs=3), [*train, Pass(4, 3, "probe")])
    with pytest.raises(DataError, match=r"entropy needs a clean pass of epoch 3; T has none \(run 4\)"):
        check(plan("aum", "entropy", epochs=3), [*train, Pass(4, 2, "probe")])
    with pytest.raises(DataError, match="aum needs training visits of epoch 2; T has none"):
        check(plan("aum", epochs=3), [train[0], train[2]])
    with pytest.raises(DataError, match="T holds fewer runs; give --runs 1"):
        check(plan("aum", epochs=3, runs=2), train)
    # Runs of a recording count in their order, whatever their numbers are.
    two = passes([2, 5], [1, 2, 3], ["train"])
    check(plan("aum", epochs=3, runs=2), two)
    with pytest.raises(DataError, match=r"epoch 3; T has none \(run 5\)"):
        check(plan("aum", epochs=3, runs=2), two[:-1])

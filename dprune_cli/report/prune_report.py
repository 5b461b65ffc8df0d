"""The report of `dprune prune`: that of its selection, with what is known of the query model."""

from __future__ import annotations

from dprune_cli.report.blocks import Report
from dprune_cli.report.select_report import select_report
from dprune_cli.stages.prune import Pruned


def prune_report(found: Pruned) -> Report:
    """What was kept, how well the query model knows it, what it looks like, and how to do it again."""
    job = found.job
    recall = None if found.recall is None else {"class": found.recall.recall.tolist()}
    return select_report(
        found.selection,
        data=job.outputs.data,
        recall=recall,
        history=found.scored.history.to_pylist(),
        title=f"What {job.request.method.text} kept of {job.samples.source}",
    )

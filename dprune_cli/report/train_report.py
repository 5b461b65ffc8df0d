"""The report of a training run."""

from __future__ import annotations

from dprune_cli.io.run_dir import RunConfig
from dprune_cli.io.table_view import TableView
from dprune_cli.report.blocks import Report, Section
from dprune_cli.report.commands import rebuild
from dprune_cli.report.pictures_section import pictures_section
from dprune_cli.report.provenance import provenance_section
from dprune_cli.report.select_report import name_data
from dprune_cli.report.training_section import History, training_section
from dprune_cli.stages.picture_choice import kinds_of_run


def train_report(history: History, table: TableView, config: RunConfig) -> Report:
    """How a training went, and which samples it did not learn.

    Args:
        history: a row an epoch.
        table: what it was trained on, with `visits` and `loss`.
        config: of the run.
    """
    kinds = kinds_of_run(table)
    names = {"class": config.classes, "group": config.groups}
    sections: list[Section | None] = [
        training_section(history, table, names),
        pictures_section(table, kinds) if kinds else None,
        provenance_section(table.meta, rebuild(table.meta, None, config)),
    ]
    return Report(
        title=f"Training of {config.model} on {name_data(table)}",
        figures=_figures(history, config),
        sections=[section for section in sections if section is not None],
    )


def _figures(history: History, config: RunConfig) -> dict[str, str]:
    last = history[-1]
    figures = {
        "samples": f"{config.data.get('samples', 0):,}",
        "epochs": str(len(history)),
        "last loss": f"{last['loss']:.4g}",
    }
    validated = {"validation accuracy": "val_accuracy", "worst class": "val_worst_class"}
    figures |= {
        said: f"{100 * last[name]:.1f} %" for said, name in validated.items() if last.get(name) is not None
    }
    if config.data.get("sampler"):
        figures["sampler"] = str(config.data["sampler"])
    return figures

"""Print results.csv as Markdown tables: `python table.py [RESULTS] [--quick]`.

One table a claim, data set and figure; rows are methods, columns keep fractions. A cell is the mean over the
seeds, (lowest - highest) if there are several, and the paper's number in brackets where there is one. What
was not measured stays empty. Only full runs are shown; `--quick` shows the quick ones, and only them.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

Row = Mapping[str, str]

TITLES = {
    "tdds": "TDDS",
    "drop": "DRoP",
    "adapruner": "AdaPruner",
    "scores": "Every score",
    "samplers": "Every sampler",
}
# What the claim is about; the first is what the paper's numbers are of.
FIGURES = {
    "drop": ["worst_class", "accuracy"],
    "scores": ["accuracy", "worst_class"],
    "samplers": ["accuracy", "worst_class", "seconds"],
}
WORDS = {
    "worst_class": "worst-class accuracy",
    "accuracy": "accuracy",
    "seconds": "seconds of training",
}
# What is not in percent, as the note above all tables has it.
UNITS = {"seconds": "not in percent but in seconds, of planning and training visits in all epochs"}
DIGITS = {"seconds": 1}
PART = ["claim", "dataset", "model", "stretch"]
NOTE_FULL = "In percent: mean over the seeds (lowest - highest) [the paper's number]."
NOTE_QUICK = (
    "QUICK runs: 2,000 training images, a tiny model, few epochs. They show that every command works, say "
    "nothing about a method, and are not to be compared with a paper. In percent."
)
NOTHING = "No full run has been measured yet."


def read_rows(path: Path, run: str) -> list[Row]:
    """The rows of full or of quick runs."""
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["run"] == run]


def cell(rows: Sequence[Row], figure: str) -> str:
    """One cell from the rows of its seeds; empty where nothing was measured.

    >>> rows = [{"accuracy": "91.00"}, {"accuracy": "92.50"}]
    >>> cell(rows, "accuracy"), cell(rows[:1], "accuracy"), cell([], "accuracy")
    ('91.75 (91.00 - 92.50)', '91.00', '')
    >>> cell([{**rows[0], "paper_figure": "accuracy", "paper": "91.30", "paper_spread": "0.25"}], "accuracy")
    '91.00 [91.30+-0.25]'
    >>> cell([{"seconds": "12.3"}, {"seconds": "12.9"}, {"seconds": ""}], "seconds")
    '12.6 (12.3 - 12.9)'
    """
    values = [float(row[figure]) for row in rows if row[figure]]
    if not values:
        return ""
    digits = DIGITS.get(figure, 2)
    text = f"{sum(values) / len(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f} - {max(values):.{digits}f})"
    for row in rows:
        if row.get("paper_figure") == figure:
            spread = f"+-{row['paper_spread']}" if row["paper_spread"] else ""
            return f"{text} [{row['paper']}{spread}]"
    return text


def render_part(rows: Sequence[Row], figure: str) -> list[str]:
    """The lines of one table: methods by keep fractions."""
    methods = sorted(
        {row["method"] for row in rows}, key=lambda name: (name[:4] != "full", name != "random", name)
    )
    keeps = sorted({row["keep"] for row in rows}, key=lambda keep: (-float(keep), keep))
    lines = [
        f"| method | {' | '.join(f'keep {keep}' for keep in keeps)} |",
        f"| --- |{' --- |' * len(keeps)}",
    ]
    for method in methods:
        found = [[row for row in rows if (row["method"], row["keep"]) == (method, keep)] for keep in keeps]
        lines.append(f"| {method} | {' | '.join(cell(one, figure) for one in found)} |")
    return lines


def describe(rows: Sequence[Row], figure: str) -> str:
    """The line above a table."""
    first = rows[0]
    title = f"**{TITLES.get(first['claim'], first['claim'])}: {WORDS[figure]}**"
    stretch = "" if first["stretch"] == "none" else f", stretched by {first['stretch']}"
    epochs = " ".join(sorted({row["epochs"] for row in rows}, key=int))
    seeds = " ".join(sorted({row["seed"] for row in rows}, key=int))
    made_by = sorted({f"{row['hardware']}, dprune {row['dprune']}, torch {row['torch']}" for row in rows})
    unit = f"; {UNITS[figure]}" if figure in UNITS else ""
    return (
        f"{title}, {first['dataset']}, {first['model']}, {epochs} epochs{stretch}, seeds {seeds} "
        f"({'; '.join(made_by)}){unit}"
    )


def render(rows: Sequence[Row], *, quick: bool = False) -> str:
    """All tables of some rows."""
    if not rows and not quick:
        return f"{NOTHING}\n"
    lines = [NOTE_QUICK if quick else NOTE_FULL]
    parts = sorted({tuple(row[name] for name in PART) for row in rows})
    for part in parts:
        own = [row for row in rows if tuple(row[name] for name in PART) == part]
        for figure in FIGURES.get(part[0], ["accuracy"]):
            lines += ["", describe(own, figure), "", *render_part(own, figure)]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = Path(__file__).parent / "results.csv"
    parser.add_argument("results", type=Path, nargs="?", default=here, metavar="RESULTS")
    parser.add_argument("--quick", action="store_true", help="the quick runs instead of the full ones")
    given = parser.parse_args(arguments)
    print(render(read_rows(given.results, "quick" if given.quick else "full"), quick=given.quick), end="")


if __name__ == "__main__":
    main()

"""Reports with every kind of block, of any size."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from dprune_cli.report.blocks import (
    Column,
    Commands,
    Facts,
    Figure,
    Gallery,
    Grid,
    Report,
    Section,
    Warnings,
)

KINDS = {"Hardest kept": "The highest scores that are kept.", "Easiest dropped": "The lowest that are not."}

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 200" width="400pt" height="200pt">'
    '<path d="M 20 180 L 380 180" stroke="currentColor"/><text x="30" y="60" fill="currentColor">loss</text>'
    "</svg>"
)


def jpeg(seed: int, size: int = 32, quality: int = 75) -> bytes:
    """A picture of noise, which no other seed has."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return out.getvalue()


def class_grid(rows, marked=frozenset()) -> Grid:
    """Rows of a class, a count, a fraction and a score."""
    columns = [
        Column(name="class"),
        Column(name="kept", kind="count", bar=True),
        Column(name="recall", kind="fraction", bar=True),
        Column(name="el2n", kind="number"),
    ]
    return Grid(title="Classes", columns=columns, rows=rows, marked=marked, caption="What is kept.")


def class_gallery(names, pictures) -> Gallery:
    return Gallery(title="Samples", by="class", names=names, kinds=KINDS, pictures=pictures, caption="Look.")


def whole_report(
    grid: Grid, gallery: Gallery, title: str = "a report", svgs=(SVG,), word: str = "x"
) -> Report:
    """Every kind of block; `word` stands wherever else text from data may."""
    plots = [Figure(title=f"plot {number}", svg=svg, caption=word) for number, svg in enumerate(svgs)]
    run = [
        Facts(title="Data", values={"root": word, word: 3, "none": None}),
        Commands(title="Run it again", commands=[(f"dprune score \\\n  '{word}'", f"Scores {word}.")]),
    ]
    sections = [
        Section(title="What was kept", blocks=[Warnings(lines=[f"{word} keeps 3 samples."]), grid, *plots]),
        Section(title="Pictures", blocks=[gallery]),
        Section(title="Provenance", blocks=run),
    ]
    return Report(title=title, figures={"kept": "30 of 100", "worst class": word}, sections=sections)

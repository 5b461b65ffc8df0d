"""A `Report` as one HTML file that needs nothing from elsewhere.

The page is whole without JavaScript, which only sorts, hides and shows what is there. A policy in its
head makes the browser itself refuse every request, and every script but ours. All text from data goes
through `finalize` and the escaping of jinja2, except the SVG of figures.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from dprune_cli.core.errors import UsageError
from dprune_cli.io.outputs import STDOUT, check_output, whole_file
from dprune_cli.io.remote import Place
from dprune_cli.report.blocks import Report
from dprune_cli.report.views import draw_sections
from dprune_cli.report.wording import shortened, visible, written

if TYPE_CHECKING:
    from jinja2 import Environment

_NEEDED = ("jinja2", "matplotlib")


def check_report(path: str | Place, *, force: bool) -> Place:
    """Refuse a report that could not be written, before any work is done for it.

    Args:
        path: where it is to be.
        force: a file that is there may be replaced.

    Returns:
        The path with links followed.

    Raises:
        UsageError: it is standard output, or exists already, or a package is not installed.
        DpruneError: nothing can be written there.
    """
    if str(path) == STDOUT:
        raise UsageError("a report is a file for a browser; name one, such as report.html, not -")
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"a report needs {' and '.join(missing)}; pip install {' '.join(missing)}")
    return check_output(path, force=force)


def write_report(report: Report, path: str | Place, *, force: bool = False) -> None:
    """Write a report as one HTML file, whole or not at all.

    Raises:
        UsageError: something is there, and `force` is not given.
        DpruneError: it cannot be written.
    """
    # Halves of surrogate pairs are no UTF-8; all but those in the SVG are written out before.
    page = render(report).encode(errors="backslashreplace")
    with whole_file(path, force=force) as part:
        part.write_bytes(page)


def render(report: Report) -> str:
    """A report as HTML: the same report gives the same text.

    Raises:
        ValueError: a row has not a value a column, or a picture is of a name or kind that its gallery lacks.
    """
    from markupsafe import Markup

    script = _read("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            sections=draw_sections(report),
            style=Markup(_read("page.css")),
            script=Markup(script),
            script_hash=f"sha256-{digest}",
        )
    )


def _environment() -> Environment:
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Markup) else visible(str(value))

    environment = Environment(
        loader=DictLoader({name: _read(name) for name in ("page.html", "blocks.html")}),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(written=written, shortened=shortened)
    return environment


def _read(name: str) -> str:
    return files("dprune_cli.report").joinpath("templates", name).read_text(encoding="utf-8")

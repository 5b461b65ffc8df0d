"""How names and values of a report are written for people to read."""

from __future__ import annotations

import math

from dprune_cli.report.blocks import Kind, Value

UNKNOWN = "–"  # noqa: RUF001 - a dash of the width of a digit

# No letters, but no danger either: spaces that do not break, and what joins letters of some scripts.
_HARMLESS = frozenset("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}\u200c\u200d")


def visible(text: str) -> str:
    r"""Text in which whatever is invisible, or turns other text around, is written out.

    Keys and names come from data. A browser takes any sign, but a reader can be misled by some, and
    halves of surrogate pairs (bytes of a file name that are no UTF-8) cannot be written to a file.

    >>> visible("é\u202egpj.exe\n\udcff")
    'é\\u202egpj.exe\\n\\udcff'
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in _HARMLESS else repr(sign)[1:-1] for sign in text)


def shortened(text: str, longest: int) -> str:
    """Text without its middle if it is too long, because the ends tell names apart.

    >>> shortened("abcdefghij", 7), shortened("abc", 7)
    ('abc…hij', 'abc')
    """
    if len(text) <= longest:
        return text
    end = (longest - 1) // 2
    return f"{text[: longest - 1 - end]}…{text[-end:]}"


def written(value: Value, kind: Kind = "text") -> str:
    r"""A value as people read it.

    Args:
        value: None and NaN are not known.
        kind: what it counts or measures; text is written as it is, whatever the kind.

    >>> written(12345, "count"), written(0.3456, "fraction"), written(12.3456, "number")
    ('12,345', '34.6\xa0%', '12.346')
    """
    if is_unknown(value):
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(value, kind)
    return str(value)


def is_unknown(value: Value) -> bool:
    """Whether a value is None or NaN."""
    return value is None or value != value


def as_number(value: Value) -> int | float | None:
    """A number, NaN excepted, as it is; None for anything else.

    >>> as_number(3), as_number("3"), as_number(float("nan"))
    (3, None, None)
    """
    return value if isinstance(value, int | float) and value == value else None


def _number(value: int | float, kind: Kind) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"  # noqa: RUF001 - a minus sign
    if kind == "count":
        return _signed(f"{value:,.0f}")
    if kind == "fraction":
        return _signed(f"{100 * value:.1f}\N{NO-BREAK SPACE}%")
    if isinstance(value, int):
        return _signed(str(value))
    return _signed(_measure(value))


def _measure(value: float) -> str:
    """As many digits as let one column of similar values be compared at a glance."""
    size = abs(value)
    if size != 0 and not 0.0005 <= size < 1e7:
        return f"{value:.2e}"
    return f"{value:,.1f}" if size >= 100 else f"{value:.3f}"


def _signed(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text  # noqa: RUF001

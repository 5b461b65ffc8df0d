"""What the shell offers when Tab is pressed: methods and their parameters, models, columns of a table.

Nothing of this may take longer than a blink, so no method is imported: names are those of files, parameters
and titles are read from the text of a file, columns from the footer of a table.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import typer

from dprune_cli.core.registry import Registry

Offers = list[tuple[str, str]]
Completer = Callable[[str], Offers]

# Package of each kind of method.
KINDS = {
    "score": "scores",
    "quota": "quotas",
    "picker": "pickers",
    "sampler": "samplers",
    "weighter": "weighters",
}
_PACKAGE = Path(__file__).parents[1]
_VARIABLE = "_DPRUNE_COMPLETE"
_BREAKS = (":", "=")
# Columns that are numbers but rank nothing.
_NO_RANK = ("label", "group", "offset", "size", "pred", "quota")


def methods_of(*kinds: str, more: Mapping[str, str] | None = None) -> Completer:
    """What completes `NAME[:param=value,...]` of these kinds of methods.

    Args:
        kinds: keys of `KINDS`.
        more: other names that are offered, and what they mean.
    """

    def complete(incomplete: str) -> Offers:
        name, colon, parameters = incomplete.partition(":")
        if colon:
            files = [_file_of(kind, name) for kind in kinds if name in _names(kind)]
            offers = [offer for file in files for offer in _parameters(file, name, parameters)]
        else:
            offers = [(found, _read_title(_file_of(kind, found))) for kind in kinds for found in _names(kind)]
            offers += (more or {}).items()
        return _matching(offers, incomplete)

    return complete


def complete_kind(incomplete: str) -> Offers:
    """A kind of method."""
    return _matching([(kind, "") for kind in KINDS], incomplete)


def complete_model(incomplete: str) -> Offers:
    """One of dprune's models, or the beginning of one of torchvision's."""
    from dprune_cli.models.build import model_names

    return _matching([*((name, "") for name in model_names()), ("torchvision:", "")], incomplete)


def complete_ranking(context: typer.Context, incomplete: str) -> Offers:
    """What `select --by` can rank by: `random`, or a column of numbers of the table that was named."""
    names = [name for name in _number_columns(_table_of(context)) if name not in _NO_RANK]
    return _matching([*((name, "") for name in names), ("random", "in a seeded random order")], incomplete)


def complete_column(context: typer.Context, incomplete: str) -> Offers:
    """A column of numbers of the table that was named."""
    return _matching([(name, "") for name in _number_columns(_table_of(context))], incomplete)


@contextmanager
def whole_words(environ: MutableMapping[str, str]) -> Iterator[None]:
    """A block that answers bash, to which `tdds:window=10` is five words, as if it were one."""
    cut = join_words(environ) if environ.get(_VARIABLE) == "complete_bash" else ""
    if not cut:
        yield
        return
    said = StringIO()
    try:
        with redirect_stdout(said):
            yield
    finally:
        # Bash puts what it is offered behind its last cut.
        sys.stdout.write("".join(line.removeprefix(cut) for line in said.getvalue().splitlines(True)))


def join_words(environ: MutableMapping[str, str]) -> str:
    r"""Put together the words that bash has cut at `:` and `=`.

    Returns:
        What the last word has before its last cut; nothing if it was not cut.

    >>> words = "dprune score -m tdds : w".replace(" ", "\n")
    >>> environ = {"COMP_CWORD": "5", "COMP_WORDS": words}
    >>> join_words(environ), environ["COMP_WORDS"].split(), environ["COMP_CWORD"]
    ('tdds:', ['dprune', 'score', '-m', 'tdds:w'], '3')
    """
    current = int(environ.get("COMP_CWORD", "0"))
    words = environ.get("COMP_WORDS", "").split("\n")[: current + 1]
    joined: list[str] = []
    for word in words:
        if joined and (word in _BREAKS or joined[-1].endswith(_BREAKS)):
            joined[-1] += word
        else:
            joined.append(word)
    if len(joined) == len(words):
        return ""
    environ.update(COMP_WORDS="\n".join(joined), COMP_CWORD=str(len(joined) - 1))
    last = joined[-1]
    value = last.partition("=")[2] if last.startswith("--") else last
    return value[: max(value.rfind(sign) for sign in _BREAKS) + 1]


def _matching(offers: Sequence[tuple[str, str]], incomplete: str) -> Offers:
    return [(value, about) for value, about in offers if value.startswith(incomplete)]


def _names(kind: str) -> list[str]:
    return Registry(kind, f"dprune_cli.{KINDS[kind]}").names()


def _file_of(kind: str, name: str) -> Path:
    return _PACKAGE / KINDS[kind] / f"{name}.py"


def _parameters(file: Path, name: str, given: str) -> Iterator[tuple[str, str]]:
    """What can follow `name:`: parameters that are not given yet, or the values of the last one."""
    before, comma, _ = given.rpartition(",")
    taken = {part.partition("=")[0] for part in before.split(",")}
    for item in _fields(file):
        field = ast.unparse(item.target)
        if field not in taken:
            start = f"{name}:{before}{comma}{field}="
            yield start, "" if item.value is None else f"default {ast.unparse(item.value)}".replace("'", "")
            if given.startswith(f"{before}{comma}{field}="):
                yield from ((start + value, "") for value in _choices(item.annotation))


def _fields(file: Path) -> list[ast.AnnAssign]:
    """The parameters of the method that a file registers."""
    tree = _parse(file)
    return [field for node in _registered(tree) for field in _own_fields(tree, node)]


def _own_fields(tree: ast.Module, node: ast.ClassDef) -> list[ast.AnnAssign]:
    """The dataclass fields of a class, those that it inherits from other files of dprune first."""
    found = []
    for base in node.bases:
        for file in _origins(tree, ast.unparse(base)):
            there = _parse(file)
            found += [
                field for one in _classes(there, ast.unparse(base)) for field in _own_fields(there, one)
            ]
        found += [field for one in _classes(tree, ast.unparse(base)) for field in _own_fields(tree, one)]
    if any("dataclass" in ast.unparse(mark) for mark in node.decorator_list):
        found += [item for item in node.body if isinstance(item, ast.AnnAssign) and _is_parameter(item)]
    # A field that a class declares again has its place, and the later default.
    return list({ast.unparse(item.target): item for item in found}.values())


def _is_parameter(item: ast.AnnAssign) -> bool:
    kind = ast.unparse(item.annotation)
    return not kind.startswith("ClassVar") and "init=False" not in ast.unparse(item)


def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _classes(tree: ast.Module, name: str) -> list[ast.ClassDef]:
    return [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]


def _registered(tree: ast.Module) -> list[ast.ClassDef]:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return [node for node in classes if "register" in map(ast.unparse, node.decorator_list)]


def _origins(tree: ast.Module, name: str) -> list[Path]:
    """The file of dprune that a class is imported from."""
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    modules = [node.module for node in imports if name in (alias.name for alias in node.names)]
    parts = [module.split(".")[1:] for module in modules if module and module.startswith("dprune_cli.")]
    return [_PACKAGE.joinpath(*names).with_suffix(".py") for names in parts]


def _choices(annotation: ast.expr) -> list[str]:
    """The words of a `Literal`."""
    if not isinstance(annotation, ast.Subscript) or ast.unparse(annotation.value) != "Literal":
        return []
    return [str(node.value) for node in ast.walk(annotation.slice) if isinstance(node, ast.Constant)]


def _read_title(file: Path) -> str:
    """What a method is called in full."""
    for node in _registered(_parse(file)):
        for part in ast.walk(node):
            if isinstance(part, ast.keyword) and part.arg == "title" and isinstance(part.value, ast.Constant):
                return str(part.value.value)
    return ""


def _table_of(context: typer.Context) -> str:
    """The table that was named; where an option lacks its value, typer has left it among the rest."""
    return str(context.params.get("table") or next(iter(context.args), ""))


def _number_columns(table: str) -> list[str]:
    """Columns of numbers of a table, from its footer; none if it cannot be read here and now."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = Path(os.path.expanduser(table))
    with suppress(OSError, ValueError):
        file = min(place.glob("*.parquet")) if table and place.is_dir() else place
        schema = pq.read_schema(file) if file.is_file() else pa.schema([])
        kinds = (pa.types.is_integer, pa.types.is_floating)
        return [field.name for field in schema if any(kind(field.type) for kind in kinds)]
    return []

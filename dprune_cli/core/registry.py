"""One registry a kind of method: its name is its file, its CLI value and its column.

Names are read from the file names, so listing them (for `--help`, for completion) imports nothing;
a method's module is imported when the method is asked for.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import types
import typing
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, TypeVar

from dprune_cli.core.errors import UsageError

T = TypeVar("T")

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Registry(Generic[T]):
    """All methods of one kind, found as the public modules of one package (except `base`)."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._classes: dict[str, type[T]] = {}

    def register(self, cls: type[T]) -> type[T]:
        """Class decorator; refuses a name that is not the module's, or that is taken."""
        name = getattr(cls, "info").name  # noqa: B009 - T has no bound that declares it
        if not dataclasses.is_dataclass(cls):
            raise TypeError(f"{self.kind} {name}: {cls.__name__} must be a dataclass")
        if cls.__module__ != f"{self.package}.{name}":
            raise ValueError(f"{self.kind} {name} must live in {self.package}.{name}, not {cls.__module__}")
        if self._classes.get(name, cls) is not cls:
            raise ValueError(f"{self.kind} {name} is registered twice")
        self._classes[name] = cls
        return cls

    def names(self) -> list[str]:
        """Every method's name, sorted, without importing a method."""
        root = Path(__file__).parents[2].joinpath(*self.package.split("."))
        found = (module.name for module in pkgutil.iter_modules([str(root)]))
        return sorted(name for name in found if name != "base" and not name.startswith("_"))

    def get(self, name: str) -> type[T]:
        """The class registered as `name`; `UsageError` with the nearest names otherwise."""
        if name not in self.names():
            near = get_close_matches(name, self.names(), n=2) or self.names()
            raise UsageError(f"there is no {self.kind} called {name!r}; try {', '.join(near)}")
        importlib.import_module(f"{self.package}.{name}")
        return self._classes[name]

    def make(self, spec: str) -> T:
        """The method that `NAME[:param=value,...]` describes."""
        name, _, rest = spec.partition(":")
        cls = self.get(name)
        return cls(**_convert(f"{self.kind} {name}", cls, split_parameters(rest)))


def parameters(method: Any) -> dict[str, Any]:
    """A method's parameters by name, as they go into a table's metadata."""
    return {field.name: getattr(method, field.name) for field in dataclasses.fields(method) if field.init}


def split_parameters(text: str) -> dict[str, str]:
    """`param=value,...` by name; `UsageError` for anything else."""
    pairs: dict[str, str] = {}
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"{item!r} is no parameter: write param=value")
        pairs[key.strip()] = value.strip()
    return pairs


def _convert(owner: str, cls: type, given: dict[str, str]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls) if field.init]
    for name in given:
        if name not in known:
            choices = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{owner} has no parameter {name!r}; {choices}")
    for item in dataclasses.fields(cls):
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if item.init and required and item.name not in given:
            raise UsageError(f"{owner} needs {item.name}: write {owner.split()[-1]}:{item.name}=...")
    return {name: convert(f"{owner}:{name}", hints[name], text) for name, text in given.items()}


def convert(owner: str, kind: Any, text: str) -> Any:
    """`text` as a value of the annotated type `kind`; `UsageError` naming `owner` if it is none."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        return None if text.lower() == "none" else convert(owner, options[0], text)
    if origin is typing.Literal:
        for choice in typing.get_args(kind):
            if str(choice) == text:
                return choice
        raise UsageError(f"{owner}={text} is none of {', '.join(map(str, typing.get_args(kind)))}")
    if kind is bool:
        if text.lower() not in _WORDS:
            raise UsageError(f"{owner}={text} is neither true nor false")
        return _WORDS[text.lower()]
    try:
        if kind is float and text.endswith("%"):
            return float(text[:-1]) / 100
        return kind(text)
    except ValueError:
        raise UsageError(f"{owner}={text} is no {kind.__name__}") from None

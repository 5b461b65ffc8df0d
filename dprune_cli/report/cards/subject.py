"""What a card says of a selection, whatever it was written as."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from dprune_cli.io.table_meta import TableMeta
from dprune_cli.report.commands import rebuild
from dprune_cli.stages.select import Left, Selection

_SHORT = 12
_DATA = "DATA"
_FILE = "FILE"
# An absolute path, or one in braces; an address of a file; an account.
_PRIVATE = re.compile("(^|[{,])[/~]|^file:|@", re.IGNORECASE)
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Subject:
    """A selection as a card sees it: the names of nobody's folders, hosts or hours.

    Attributes:
        classes: what is left of every class.
        groups: what is left of every group, if quotas were those of groups.
        meta: what the table knows of itself.
    """

    classes: Left
    groups: Left | None
    meta: TableMeta

    @classmethod
    def of(cls, found: Selection) -> Subject:
        """What is said of a selection."""
        return cls(found.classes, found.groups, found.table.meta)

    @property
    def names(self) -> list[str]:
        """Class names by id."""
        return self.classes.names

    @property
    def kept(self) -> int:
        """Samples that are kept."""
        return int(self.classes.coverage.kept.sum())

    @property
    def available(self) -> int:
        """Samples that could be kept."""
        return int(self.classes.coverage.available.sum())

    @property
    def title(self) -> str:
        """How many samples of which data set, in a few words."""
        source = f" of data set {self.fingerprint[:_SHORT]}" if self.fingerprint else ""
        return f"{self.kept} of {self.available} images{source}"

    @property
    def fingerprint(self) -> str | None:
        """That of the source data set; None where it is not known, or is no sha256."""
        found = self.meta.fingerprint or ""
        return found if _SHA256.fullmatch(found) else None

    @property
    def label_field(self) -> str | None:
        """The field of the `.json` members that labels were read from; None if it was none of them."""
        found = self.meta.reading.get("label_field")
        return found if isinstance(found, str) and found else None

    @property
    def root(self) -> str | None:
        """The source data set as it was named, if that says nothing of anybody's computer."""
        root = self.meta.root
        words = [root] if isinstance(root, str) else root or []
        return None if not words or any(_is_private(word) for word in words) else " ".join(words)

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The steps that made the table; of files outside the working folder the last name alone."""
        return [
            {"command": str(step.get("command")), "options": _public(step.get("options", {}))}
            for step in self.meta.steps
        ]

    @property
    def commands(self) -> list[str]:
        """The commands of the steps, with placeholders for what is nobody's business."""
        meta = dataclasses.replace(self.meta, root=self.root or _DATA, steps=self.steps)
        return [command for command, _ in rebuild(meta)]

    @property
    def paper(self) -> str | None:
        """Where the score that samples were ranked by is described; None where that is not known."""
        score = self.meta.scores.get(str(self.meta.last_step("select").get("by")), {})
        found = str(score.get("paper", ""))
        return found if found.startswith("https://") else None


def written_options(options: Any) -> str:
    """Options of a step as JSON on one line."""
    return json.dumps(options, sort_keys=True)


def _is_private(word: str) -> bool:
    """Whether a word tells of somebody's computer or account; it may be an address or a list in braces."""
    return bool(_PRIVATE.search(word))


def _public(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _public(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_public(one) for one in value]
    if isinstance(value, str) and _is_private(value):
        name = PurePosixPath(value).name.rstrip("}")
        return _FILE if _is_private(name) else name
    return value


def counted(number: int, names: Sequence[str]) -> str:
    """A number and what it counts.

    >>> counted(1, ["class", "classes"]), counted(1200, ["class", "classes"])
    ('1 class', '1,200 classes')
    """
    return f"{number:,} {names[number != 1]}"

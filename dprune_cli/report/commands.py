"""From the steps that a table has recorded to commands that can be typed again.

What a command writes is not recorded, so the names of outputs are placeholders. Everything else comes from
data and is quoted for a shell; a value that begins like an option cannot become one.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dprune_cli.core.config import DataConfig, TrainConfig
from dprune_cli.core.errors import UsageError
from dprune_cli.core.registry import Registry
from dprune_cli.io.run_dir import TABLE, RunConfig
from dprune_cli.io.table_meta import TableMeta
from dprune_cli.pickers.base import PICKERS
from dprune_cli.quotas.base import QUOTAS

FOREIGN, PREDICTIONS = "table.parquet", "predictions.parquet"
_OUTPUTS = {
    "score": "scores.parquet",
    "quota": "quotas.parquet",
    "select": "selected.parquet",
    "train": "run",
    "evaluate": PREDICTIONS,
    "prune": "smaller",
}


_PRUNING = (
    "keep",
    "method",
    "min_per_class",
    "model",
    "image_size",
    "epochs",
    "batch_size",
    "lr",
    "runs",
    "max_errors",
)


@dataclass
class _Line:
    """A command while it is put together."""

    command: str
    places: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)

    def add(self, option: str, value: object) -> None:
        """An option and its value; none without a value."""
        if value is None:
            return
        text = str(value)
        self.options += [f"{option}={text}"] if text.startswith("-") else [option, text]

    def add_flag(self, name: str, wanted: bool) -> None:
        """A flag, or the one that turns it off."""
        self.options.append(f"--{name}" if wanted else f"--no-{name}")

    def write(self) -> str:
        """As it is typed."""
        # A lone dash is standard input, and no option.
        dashed = any(place.startswith("-") and place != "-" for place in self.places)
        places = [*self.options, "--", *self.places] if dashed else [*self.places, *self.options]
        return shlex.join(["dprune", self.command, *places])


def rebuild(
    meta: TableMeta, run: str | None = None, config: RunConfig | None = None
) -> list[tuple[str, str]]:
    """The commands that made a table, each with what it says of itself.

    A step that is none of a command, or lacks what its command needs, is left out.

    Args:
        meta: what the table says of itself.
        run: the run folder that the table is of, if it is of one.
        config: of that run; it knows more of a training than the table does.
    """
    found: list[tuple[str, str]] = []
    table = FOREIGN
    last = [step.get("command") for step in meta.steps].count("train")
    trained = 0
    for step in meta.steps:
        command, options = str(step.get("command")), step.get("options", {})
        if command not in _WRITERS or (line := _WRITERS[command](options, meta, table)) is None:
            continue
        if command == "prune":
            found.clear()  # it stands for all the stages that it went through
        trained += command == "train"
        if command == "train" and trained == last and config is not None:
            line = _training(config, None if table == FOREIGN else table)
            options = {}
        if command == "score" and not last:
            line.add("--save-model", run)
        output = run if command == "train" and trained == last and run is not None else _OUTPUTS.get(command)
        line.add("-o", output)
        found.append((line.write(), _notes(command, options)))
        table = f"{output}/{TABLE}" if command == "train" else str(output)
    return found


def _score(options: Mapping[str, Any], meta: TableMeta, table: str) -> _Line | None:
    if "recording" in options and "recordings" not in options:
        return None  # of an older table; it may have been either of two kinds of files
    line = _Line("score", _words(meta.root))
    for method in _list(options.get("methods")):
        line.add("-m", method)
    line.add("--runs", options.get("runs"))
    for place in _list(options.get("val")):
        line.add("--val", place)
    for name, path in sorted(_mapping(options.get("recordings")).items()):
        line.add(f"--{name.replace('_', '-')}", path)
    _add_reading(line, meta.reading)
    training = dict(_mapping(options.get("training")))
    if training:
        training["model"] = options.get("model")
        line.add("--image-size", options.get("image_size"))
    else:
        training["seed"] = options.get("seed")
    _add_settings(line, training)
    return line


def _quota(options: Mapping[str, Any], meta: TableMeta, table: str) -> _Line:
    line = _Line("quota", [table])
    if (edited := options.get("quotas")) is not None:
        line.add("--from", edited)
    else:
        line.add("--keep", options.get("keep"))
        line.add("--method", _spec(QUOTAS, options.get("method"), options.get("parameters")))
    line.add("--by", None if options.get("by", "class") == "class" else options["by"])
    for place in _list(options.get("val")):
        line.add("--val", place)
    line.add("--min-per-class", options.get("min_per_class"))
    line.add("--seed", options.get("seed") or None)
    return line


def _select(options: Mapping[str, Any], meta: TableMeta, table: str) -> _Line:
    line = _Line("select", [table])
    line.add("--by", options.get("by"))
    line.add("--keep", options.get("keep"))
    line.add("--pick", _spec(PICKERS, options.get("pick"), options.get("parameters")))
    if options.get("global"):
        line.options.append("--global")
    line.add("--weight-by", options.get("weight_by"))
    line.add("--seed", options.get("seed") or None)
    return line


def _train(options: Mapping[str, Any], meta: TableMeta, table: str) -> _Line:
    line = _Line("train", _words(meta.root))
    line.add("--table", None if table == FOREIGN else table)
    line.add("--sampler", options.get("sampler"))
    line.add("--keep", options.get("keep"))
    _add_reading(line, meta.reading)
    _add_settings(line, {"epochs": options.get("epochs")})
    return line


def _evaluate(options: Mapping[str, Any], meta: TableMeta, table: str) -> _Line:
    line = _Line("evaluate", [str(options.get("run", "run")), *_words(meta.root)])
    _add_reading(line, meta.reading)
    return line


def _prune(options: Mapping[str, Any], meta: TableMeta, table: str) -> _Line:
    line = _Line("prune", _words(meta.root))
    for name in _PRUNING:
        line.add(f"--{name.replace('_', '-')}", options.get(name))
    for place in _list(options.get("val")):
        line.add("--val", place)
    _add_reading(line, meta.reading)
    line.add("--seed", options.get("seed") or None)
    return line


_WRITERS = {
    "score": _score,
    "quota": _quota,
    "select": _select,
    "train": _train,
    "evaluate": _evaluate,
    "prune": _prune,
}


def _training(config: RunConfig, table: str | None) -> _Line:
    """The command of a run folder; its epochs are those that were trained, stretched or not."""
    data, settings = config.data, dict(config.training)
    line = _Line("train", _words(data.get("root")))
    line.add("--table", table)
    for name in ("sampler", "keep", "weighter"):
        line.add(f"--{name}", data.get(name))
    for place in _list(data.get("val")):
        line.add("--val", place)
    if config.features is None:
        settings["model"] = config.model
        line.add("--image-size", config.image_size)
    else:
        for name in ("from_features", "from_val_features"):
            line.add(f"--{name.replace('_', '-')}", _file(data.get(name)))
        line.add("--head", config.model.partition(":")[2] or "none")
    _add_reading(line, data)
    _add_settings(line, settings)
    return line


def _file(recorded: Any) -> Any:
    """The path of a file that is recorded with its digest."""
    return recorded[0] if isinstance(recorded, list) and recorded else recorded


def _add_reading(line: _Line, reading: Mapping[str, Any]) -> None:
    """How DATA was read, as far as it was not read as by default."""
    for item in dataclasses.fields(DataConfig):
        if item.name in reading:
            _add_setting(line, item, reading[item.name])


def _add_settings(line: _Line, settings: Mapping[str, Any]) -> None:
    for item in dataclasses.fields(TrainConfig):
        if item.name in settings:
            _add_setting(line, item, settings[item.name])


def _add_setting(line: _Line, item: dataclasses.Field[Any], value: Any) -> None:
    if value is None or value == item.default:
        return
    name = item.name.replace("_", "-")
    if isinstance(value, bool):
        line.add_flag(name, value)
    else:
        line.add(f"--{name}", value)


def _spec(registry: Registry[Any], name: Any, given: Any) -> str | None:
    """`NAME[:param=value,...]` with the parameters that differ from the method's defaults."""
    if name is None:
        return None
    try:
        fields = {item.name: item.default for item in dataclasses.fields(registry.get(str(name)))}
    except UsageError:
        fields = {}  # a method that this version does not know
    told = [
        f"{key}={_parameter(value)}"
        for key, value in sorted(_mapping(given).items())
        if key not in fields or fields[key] != value
    ]
    return f"{name}:{','.join(told)}" if told else name


def _parameter(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _words(root: Any) -> list[str]:
    return [root] if isinstance(root, str) else _list(root)


def _list(value: Any) -> list[str]:
    """The words of a list; none where the metadata of another tool hold something else."""
    return [str(word) for word in value] if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _notes(command: str, options: Mapping[str, Any]) -> str:
    """What a reader should know of a step beside its command."""
    said = [f"{command}:"]
    if (paper := options.get("paper")) is not None:
        said.append(f"paper {paper};")
    if (model := options.get("model")) is not None:
        said.append(f"query model {model};")
    if (cutoff := options.get("cutoff")) is not None:
        cut = _mapping(cutoff)
        said.append(f"left out {cut.get('samples')} samples, the hardest by {cut.get('by')};")
    if command == "train" and options:
        said.append("its other options are in the config.json of its run folder;")
    if command == "train" and not options:
        said.append("epochs are those that were trained, stretched or not;")
    return " ".join([*said, f"seed {options.get('seed', 0)}"] if "seed" in options else said).rstrip(":;")

"""Settings that `score` and `train` share, each declared once.

A field's type, default and help text are the command-line option, the key of a recipe file and the entry
in a run's `config.json`.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dprune_cli.core.errors import DataError, UsageError

# Where `select --shards` ends a shard, whichever comes first.
SHARD_SAMPLES = 10_000
SHARD_BYTES = 10**9


def option(default: Any, help: str, panel: str) -> Any:
    """A dataclass field that is also a command-line option."""
    return dataclasses.field(default=default, metadata={"help": help, "panel": panel})


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How DATA is read."""

    label_field: str | None = option(None, "Label field of .json members; else .cls members.", "Data")
    group_field: str | None = option(None, "Group field of .json members; 'label,place' crosses two.", "Data")
    classes: str | None = option(None, "Class names, one a line in the order of their ids.", "Data")
    spool: str | None = option(None, "Folder that keeps a tar stream read from '-'.", "Data")
    max_errors: str = option("0.1%", "Bad samples to tolerate, a fraction or a count.", "Data")
    image_size: int | None = option(None, "Side of the model's input in pixels; else from the data.", "Data")
    cache_memory: str | None = option(
        None, "Memory for decoded images (2GB); default a quarter of RAM or of free GPU memory.", "Data"
    )
    remote_cache: str = option("10GB", "Disk for local copies of shards behind a URL.", "Data")
    workers: int | None = option(None, "Decoding threads; default one a core.", "Data")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is trained."""

    model: str | None = option(
        None,
        "tiny, resnet18/34/50, vgg16/19, torchvision:NAME or package.module:factory; "
        "default tiny on a CPU, resnet18 on a GPU.",
        "Model",
    )
    init: str | None = option(None, "Start from these weights (.safetensors).", "Model")
    freeze: bool = option(False, "Train the head alone; the rest stays as --init has it.", "Model")
    compile: bool = option(False, "Compile the model with torch.compile.", "Model")
    device: str | None = option(None, "cpu or cuda; default the GPU if there is one.", "Model")
    epochs: int = option(30, "Epochs of the schedule.", "Training")
    batch_size: int = option(128, "Samples a step.", "Training")
    lr: float = option(0.1, "Peak learning rate.", "Training")
    momentum: float = option(0.9, "Momentum of SGD.", "Training")
    nesterov: bool = option(True, "Nesterov momentum.", "Training")
    weight_decay: float = option(5e-4, "Weight decay.", "Training")
    schedule: Literal["cosine", "step", "constant"] = option("cosine", "Learning-rate schedule.", "Training")
    milestones: str = option("0.5,0.75", "Fractions of the run at which 'step' drops the rate.", "Training")
    lr_drop: float = option(0.1, "Factor of each drop of 'step'.", "Training")
    warmup: float = option(0.0, "Epochs of linear warm-up.", "Training")
    label_smoothing: float = option(0.0, "Label smoothing, 0 to 1.", "Training")
    clip_norm: float | None = option(None, "Clip the gradient to this norm.", "Training")
    amp: bool = option(True, "bfloat16 autocast on GPUs.", "Training")
    flip: bool = option(True, "Augment: horizontal flips.", "Training")
    shift: int = option(4, "Augment: random shift of small images, at most this many pixels.", "Training")
    cutout: int = option(0, "Augment: side of a square cut out; 0 for none.", "Training")
    seed: int = option(0, "Fixes every random choice.", "Training")

    def check(self) -> None:
        """`UsageError` for a value that makes no sense."""
        if self.freeze and self.init is None:
            raise UsageError(
                "--freeze trains the head of a trained model alone; give its weights, --init FILE"
            )
        positive = {
            "epochs": self.epochs,
            "lr": self.lr,
            "lr-drop": self.lr_drop,
            "clip-norm": self.clip_norm,
        }
        for name, value in positive.items():
            if value is not None and not value > 0:
                raise UsageError(f"--{name} {value}: it must be positive")
        not_negative = {
            "momentum": self.momentum,
            "weight-decay": self.weight_decay,
            "warmup": self.warmup,
            "shift": self.shift,
            "cutout": self.cutout,
        }
        for name, value in not_negative.items():
            if not value >= 0:
                raise UsageError(f"--{name} {value}: it must not be negative")
        if self.batch_size < 2:
            raise UsageError(f"--batch-size {self.batch_size}: batch norm needs at least 2 samples a step")
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"--label-smoothing {self.label_smoothing} is not in [0, 1)")
        if self.nesterov and self.momentum <= 0:
            raise UsageError("--nesterov needs --momentum above 0; or give --no-nesterov")
        self.drops()

    def drops(self) -> list[float]:
        """The milestones as fractions of the run, ascending."""
        try:
            drops = sorted(float(text) for text in self.milestones.split(",") if text.strip())
        except ValueError:
            drops = [-1.0]
        if not all(0 < drop < 1 for drop in drops):
            raise UsageError(f"--milestones {self.milestones}: write fractions of the run such as 0.5,0.75")
        return drops


@dataclass(frozen=True, kw_only=True)
class QueryConfig:
    """The query model of `prune`; what is not given is chosen from the data and the machine."""

    model: str | None = option(
        None,
        "tiny, resnet18/34/50, vgg16/19, torchvision:NAME or package.module:factory; "
        "default tiny on a CPU, resnet18 on a GPU.",
        "Query model",
    )
    epochs: int | None = option(None, "Epochs of its schedule; default by the samples.", "Query model")
    batch_size: int | None = option(None, "Samples a step; default by the samples.", "Query model")
    lr: float | None = option(None, "Peak learning rate; default 0.1 for batches of 128.", "Query model")
    runs: int = option(1, "Runs that scores are averaged over.", "Query model")
    device: str | None = option(None, "cpu or cuda; default the GPU if there is one.", "Query model")
    seed: int = option(0, "Fixes every random choice.", "Query model")


def read_recipe(path: Path, known: set[str]) -> dict[str, Any]:
    """Options from a TOML file; names as on the command line, with - or _.

    Raises:
        DataError: there is no such file, or it is no TOML.
        UsageError: a name that is none of `known`.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        # Integers of thousands of digits and lists inside lists without end are valid, and cannot be read.
        raise DataError(f"{path}: this is no TOML: {str(error).splitlines()[0]}") from None
    options = dict(_recipe_option(name.replace("-", "_"), value) for name, value in values.items())
    unknown = sorted(set(options) - known)
    if unknown:
        raise UsageError(f"{path}: this command has no option {unknown[0]!r}")
    return options


def _recipe_option(name: str, value: Any) -> tuple[str, Any]:
    """As the command line has it: `no_flip = true` is `--no-flip`, `head = [512, 256]` is `512,256`."""
    if name.startswith("no_") and isinstance(value, bool):
        return name.removeprefix("no_"), not value
    if name in ("milestones", "head") and isinstance(value, list):
        return name, ",".join(map(str, value))
    return name, value

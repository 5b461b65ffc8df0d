"""What `dprune score` is asked for and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from dprune_cli.core import ranks
from dprune_cli.core.config import DataConfig, TrainConfig
from dprune_cli.core.errors import UsageError
from dprune_cli.data.memory import parse_memory
from dprune_cli.io.outputs import check_output
from dprune_cli.io.remote import Place
from dprune_cli.io.resume_dir import STATE, claim
from dprune_cli.io.run_dir import file_digest
from dprune_cli.io.samples import Samples
from dprune_cli.io.table import ScoreTable
from dprune_cli.metrics.classification import Summary
from dprune_cli.scores.base import Score
from dprune_cli.stages.run_folder import check_run_output, settings
from dprune_cli.train.observe import RunInfo


@dataclass(frozen=True)
class Outcome:
    """A score's (N,) values of one run, and what there is to say about them."""

    values: Tensor
    facts: dict[str, Any]


Outcomes = dict[Score, list[Outcome]]
"""For every score its outcome of each run."""


def compute(score: Score, run: RunInfo, recorded: Mapping[str, Tensor]) -> Outcome:
    """What a score makes of what its recorders hold."""
    return Outcome(score.compute(run, **recorded), score.facts(**recorded))


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """The options of `dprune score`.

    Attributes:
        data: DATA as typed; may be empty where a recording says which samples there are.
        methods: `NAME[:param=value,...]`, each once.
        reading: how DATA is read.
        training: how the query model is trained.
        runs: runs to average over; None for each paper's own number.
        val: DATA on which the query model's accuracy is measured.
        save_model: where run 0's model is kept.
        record_trajectory, record_features, record_val_features: files to write.
        from_trajectory, from_features, from_val_features: recording to read instead of training.
        grad_memory: memory for gradients, where a score needs their norms.
        check: decode every image even if no score needs it, to find the broken ones.
        state: folder for what an interrupted command goes on from; None for nowhere.
        force: replace outputs that exist.
    """

    data: Sequence[str] = ()
    methods: Sequence[str]
    reading: DataConfig = field(default_factory=DataConfig)
    training: TrainConfig = field(default_factory=TrainConfig)
    runs: int | None = None
    val: Sequence[str] = ()
    save_model: Place | None = None
    record_trajectory: Place | None = None
    from_trajectory: Place | None = None
    record_features: Place | None = None
    from_features: Place | None = None
    record_val_features: Place | None = None
    from_val_features: Place | None = None
    grad_memory: str = "2GB"
    check: bool = True
    state: Path | None = None
    force: bool = False

    def state_file(self, name: str) -> Path | None:
        """Where the state of one of its trainings is kept."""
        return None if self.state is None else self.state / f"{name}{STATE}"

    def told(self) -> dict[str, Any]:
        """The options that the table's metadata tell."""
        return {
            "methods": list(self.methods),
            "seed": self.training.seed,
            "runs": self.runs,
            "val": list(self.val) or None,
        }

    def claim_state(self, samples: Samples, validation: Samples | None) -> None:
        """Note of what options and data the state is, or check that it is of the same; see `claim`."""
        if self.state is None or not ranks.is_main():
            return
        init = self.training.init
        work = {
            "options": self.told(),
            "recorded": [None if path is None else str(path) for path in self.recorded],
            "grad_memory": self.grad_memory,
            "image_size": self.reading.image_size,
            "training": settings(self.training) | {"init": None if init is None else file_digest(init)},
            "samples": samples.digest(),
            "fingerprint": samples.table().meta.fingerprint,
            "validation": None if validation is None else validation.digest(),
        }
        claim(self.state, work, force=self.force)

    @property
    def recording(self) -> Place | None:
        """The recording to read instead of training, if any."""
        return self.from_trajectory or self.from_features or self.from_val_features

    def read_from(self) -> dict[str, str]:
        """The recordings to read, by the name of their option."""
        options = {
            "from_trajectory": self.from_trajectory,
            "from_features": self.from_features,
            "from_val_features": self.from_val_features,
        }
        return {name: str(path) for name, path in options.items() if path is not None}

    @property
    def wants_model(self) -> bool:
        """Whether run 0 must be trained to its end, whatever the scores need."""
        outputs = (self.save_model, *self.recorded)
        return bool(self.val or any(output is not None for output in outputs))

    @property
    def recorded(self) -> tuple[Place | None, ...]:
        """The recordings to write."""
        return self.record_trajectory, self.record_features, self.record_val_features

    def verify(self) -> None:
        """`UsageError` for options that contradict one another, or outputs that exist."""
        self.training.check()
        if not self.methods:
            raise UsageError("name at least one score with -m; `dprune methods` lists them")
        if self.runs is not None and self.runs < 1:
            raise UsageError(f"--runs {self.runs}: at least one run is needed")
        if self.record_val_features and not self.val:
            raise UsageError("--record-val-features writes features of validation data; give --val DATA")
        if self.from_val_features and not self.from_features:
            raise UsageError("--from-val-features goes with --from-features FILE")
        parse_memory(self.grad_memory, "--grad-memory")
        if self.recording and self.wants_model:
            raise UsageError("nothing is trained with --from-...: drop --val, --save-model and --record-...")
        if not self.data and not self.recording:
            raise UsageError("name the DATA to score")
        if self.save_model is not None:
            check_run_output(self.save_model, force=self.force)
        for output in self.recorded:
            if output is not None:
                check_output(output, force=self.force, folder=ranks.size() > 1)


@dataclass(frozen=True)
class ScoreResult:
    """The table, its samples (None without DATA), and the query model's accuracy if it was measured."""

    table: ScoreTable
    samples: Samples | None = None
    validation: Summary | None = None

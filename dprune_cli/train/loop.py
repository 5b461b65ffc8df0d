"""The training loop; `hooks.py` draws it. It trains one model on some rows and shows what happens.

A run is a function of its inputs and its seed: order, augmentation and dropout of an epoch are drawn from
(seed, run, epoch), the learning rate from the step. So watching is free (the weights are bit-equal with
and without recorders), and a run resumed after any epoch equals one that was never interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dprune_cli.core.config import TrainConfig
from dprune_cli.core.errors import DpruneError
from dprune_cli.core.progress import Progress
from dprune_cli.core.seeds import derive, numpy_rng
from dprune_cli.data.augment import Augment
from dprune_cli.data.batch import count_pieces
from dprune_cli.models.compiled import compile_model
from dprune_cli.models.head import EmbeddingTap
from dprune_cli.train.checkpoint import load_state, save_state
from dprune_cli.train.hooks import Recorder, Weighter
from dprune_cli.train.losses import sample_loss
from dprune_cli.train.observe import BatchObs, Field, Phase, RunInfo, observe
from dprune_cli.train.optim import learning_rate, make_optimizer, set_rate
from dprune_cli.train.probe import (
    BATCH,
    GRAD_MEMORY,
    LAYOUT,
    LabelledImages,
    autocast,
    count_correct,
    probe,
)
from dprune_cli.train.seeding import seeded
from dprune_cli.train.watching import shared_passes, wanted_fields, watching


@dataclass
class Fit:
    """One training run.

    Attributes:
        model: trained in place, on the images' device.
        data: what it is trained on; probes pass over the same rows.
        config: how.
        info: N, C, E and the labels, for whoever watches.
        run: number of the run; runs differ in initialisation, order and augmentation.
        recorders, weighter: see `hooks.py`.
        validation: rows that recorders may watch.
        validate: whether their recall is measured after every epoch.
        grad_memory: bytes that gradients may take where a recorder asks for their norms.
        snapshots: epochs after which the model's state is to be kept; 0 is before the first.
        state_file: where the resume state is kept; None for none.
        history: one row an epoch, see `Fit.train`.
        kept: the model's state by epoch, as `snapshots` says.
    """

    model: nn.Module
    data: LabelledImages
    config: TrainConfig
    info: RunInfo
    progress: Progress
    run: int = 0
    recorders: Sequence[Recorder] = ()
    weighter: Weighter | None = None
    validation: LabelledImages | None = None
    validate: bool = True
    grad_memory: int = GRAD_MEMORY
    snapshots: frozenset[int] = frozenset()
    state_file: Path | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.device = self.data.images.device
        self.steps_per_epoch = count_pieces(len(self.data.rows), self.config.batch_size)
        self.optimizer = make_optimizer(self.model, self.config)
        self.augment = Augment(
            size=self.data.images.size,
            flip=self.config.flip,
            shift=self.config.shift,
            cutout=self.config.cutout,
        )
        self.forward = compile_model(self.model) if self.config.compile else self.model
        self.target = self.data.target.to(self.device)
        self.weight = None if self.data.weight is None else self.data.weight.to(self.device)

    def train(self, last_epoch: int | None = None) -> list[dict[str, Any]]:
        """Train up to `last_epoch` of the schedule (default all of it).

        Returns:
            One row an epoch: `epoch, seconds, visited, loss` (mean over visits), `lr` (of the last step),
            `class_visited` and `class_loss` (C counts and C sums of losses), and with validation data
            `val_accuracy` and `val_worst_class`.

        Raises:
            UsageError: a recorder asks for embeddings of a model that has no head.
            DpruneError: the loss is no longer finite, or the model cannot be compiled.
        """
        # The epoch that is to be recorded may be the last; hours later is too late.
        if tap := self._tap(self.recorders):
            tap.remove()
        for hook in self._hooks():
            hook.start(self.info)
        first = self._resume() + 1
        self._keep(first - 1)
        for epoch in range(first, (self.config.epochs if last_epoch is None else last_epoch) + 1):
            self.train_epoch(epoch)
            self._keep(epoch)
            self._save(epoch)
        return self.history

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch, with the clean passes and the validation that follow it."""
        began = time.perf_counter()
        with seeded(self._seed("dropout", epoch), self.device):
            row = self._visit(epoch)
        self._probe(epoch)
        row |= self._validate(epoch)
        self.history.append({"epoch": epoch, "seconds": time.perf_counter() - began, **row})
        finite = all(bool(parameter.isfinite().all()) for parameter in self.model.parameters())
        if not (finite and math.isfinite(row["loss"])):
            raise DpruneError(
                f"training diverged in epoch {epoch} (loss {row['loss']}); lower --lr or set --clip-norm"
            )

    def _visit(self, epoch: int) -> dict[str, Any]:
        order = numpy_rng(self.config.seed, "order", self.run, epoch).permutation(self.data.rows)
        generator = torch.Generator(self.device).manual_seed(self._seed("augment", epoch))
        watchers = watching(self.recorders, Phase.TRAIN, epoch)
        tap = self._tap(watchers)
        visited = torch.zeros(self.info.classes, dtype=torch.int64, device=self.device)
        losses = torch.zeros(self.info.classes, dtype=torch.float64, device=self.device)
        what = f"epoch {epoch}/{self.config.epochs}"
        batches = self.data.images.batches(order, self.config.batch_size)
        rate = 0.0
        self.model.train()
        for number, (index, raw) in enumerate(self.progress.track(batches, self.steps_per_epoch, what)):
            index = index.to(self.device, non_blocking=True)
            pixels = self.augment(raw, generator).to(memory_format=LAYOUT)
            with autocast(self.device, enabled=self.config.amp):
                logits = self.forward(pixels)
            features = tap.take().detach().float() if tap else None
            obs = observe(Phase.TRAIN, epoch, index, self.target[index], logits, features)
            step = (epoch - 1) * self.steps_per_epoch + number
            steps = self.config.epochs * self.steps_per_epoch
            rate = learning_rate(self.config, step, steps, self.steps_per_epoch)
            self._step(logits.float(), obs, rate)
            for recorder in watchers:
                recorder.update(obs)
            visited += torch.bincount(obs.target, minlength=self.info.classes)
            losses.index_add_(0, obs.target, obs.loss.double())
        if tap:
            tap.remove()
        count = int(visited.sum())
        return {
            "visited": count,
            "loss": float(losses.sum()) / count,
            "lr": rate,
            "class_visited": visited.tolist(),
            "class_loss": losses.tolist(),
        }

    def _step(self, logits: Tensor, obs: BatchObs, rate: float) -> None:
        loss = sample_loss(logits, obs.target, self.config.label_smoothing)
        weight = torch.ones_like(loss) if self.weight is None else self.weight[obs.index]
        coef = self.weighter.coef(obs, weight) if self.weighter else weight / len(weight)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward((coef * loss).sum())
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        set_rate(self.optimizer, rate)
        self.optimizer.step()

    def _probe(self, epoch: int) -> None:
        for phase, data in ((Phase.PROBE, self.data), (Phase.VALIDATION, self.validation)):
            for group in shared_passes(watching(self.recorders, phase, epoch)):
                if data is None:
                    raise RuntimeError("a recorder watches validation data, and there is none")
                for obs in self._clean(data, phase, epoch, wanted_fields(group)):
                    for recorder in group:
                        recorder.update(obs)

    def _validate(self, epoch: int) -> dict[str, float]:
        if self.validation is None or not self.validate:
            return {}
        passes = self._clean(self.validation, Phase.VALIDATION, epoch)
        count, right = count_correct(passes, self.info.classes)
        recall = right / count
        if self.weighter:
            self.weighter.end_epoch(epoch, recall)
        worst = recall[count > 0].min()
        return {"val_accuracy": float(right.sum() / count.sum()), "val_worst_class": float(worst)}

    def _clean(
        self, data: LabelledImages, phase: Phase, epoch: int, fields: frozenset[Field] = frozenset()
    ) -> Iterable[BatchObs]:
        how: dict[str, Any] = {"amp": self.config.amp, "fields": fields, "grad_memory": self.grad_memory}
        passes = probe(self.model, data, phase=phase, epoch=epoch, **how)
        what = "validation" if phase is Phase.VALIDATION else "clean pass"
        return self.progress.track(passes, count_pieces(len(data.rows), BATCH), what)

    def _tap(self, recorders: Iterable[Recorder]) -> EmbeddingTap | None:
        return EmbeddingTap(self.model) if Field.EMBEDDING in wanted_fields(recorders) else None

    def _seed(self, stream: str, epoch: int) -> int:
        return derive(self.config.seed, stream, self.run, epoch)

    def _keep(self, epoch: int) -> None:
        if epoch in self.snapshots:
            self.kept[epoch] = {name: value.clone() for name, value in self.model.state_dict().items()}

    def _stateful(self) -> dict[str, dict[str, Tensor]]:
        return {f"{number}:{type(hook).__name__}": hook.state for number, hook in enumerate(self._hooks())}

    def _hooks(self) -> list[Recorder | Weighter]:
        return [*self.recorders, *([self.weighter] if self.weighter else [])]

    def _save(self, epoch: int) -> None:
        if self.state_file is not None:
            state = {
                "epoch": epoch,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "hooks": self._stateful(),
                "history": self.history,
            }
            save_state(self.state_file, state)

    def _resume(self) -> int:
        """Continue from the state file; the last finished epoch, 0 for a fresh start."""
        state = load_state(self.state_file) if self.state_file is not None else None
        if state is None:
            return 0
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, tensors in self._stateful().items():
            for key, value in state["hooks"][name].items():
                tensors[key] = value.to(tensors[key].device if key in tensors else self.device)
        self.history[:] = state["history"]
        return int(state["epoch"])

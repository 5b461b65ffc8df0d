"""The training loop; `hooks.py` draws it. It trains one model on some rows and shows what happens.

A run is a function of its inputs and its seed: order, augmentation and dropout of an epoch are drawn from
(seed, run, epoch), the learning rate from the step. So watching is free (the weights are bit-equal with
and without recorders), and a run resumed after any epoch equals one that was never interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dprune_cli.core import ranks
from dprune_cli.core.config import TrainConfig
from dprune_cli.core.progress import EPOCHS, Progress
from dprune_cli.core.seeds import derive, numpy_rng
from dprune_cli.data.batch import Piece
from dprune_cli.models.head import EmbeddingTap
from dprune_cli.models.modes import train_mode
from dprune_cli.train.hooks import EpochPlan, Recorder, Sampler, Weighter
from dprune_cli.train.labelled import Labelled
from dprune_cli.train.losses import sample_loss
from dprune_cli.train.observe import BatchObs, Field, Phase, RunInfo, observe
from dprune_cli.train.optim import learning_rate, make_optimizer, refuse_divergence, set_rate
from dprune_cli.train.parallel import check_empty, make_forward
from dprune_cli.train.probe import GRAD_MEMORY, autocast, count_correct, probe
from dprune_cli.train.run_state import RunState
from dprune_cli.train.seeding import seeded
from dprune_cli.train.tally import Tally
from dprune_cli.train.watching import shared_passes, show, wanted_fields, watching


@dataclass
class Fit:
    """One training run.

    Attributes:
        model: trained in place, on the inputs' device.
        data: what it is trained on; probes pass over the same rows.
        config: how.
        info: N, C, E and the labels, for whoever watches.
        run: number of the run; runs differ in initialisation, order and augmentation.
        recorders, sampler, weighter: see `hooks.py`.
        visits: samples that an epoch with a sampler is to visit on average; None if it says so itself.
        validation: rows that recorders may watch.
        validate: whether their recall is measured after every epoch.
        grad_memory: bytes that gradients may take where a recorder asks for their norms.
        snapshots: epochs after which the model's state is to be kept; 0 is before the first.
        state_file: where the resume state is kept; None for none.
        history: one row an epoch, see `Fit.train`.
        kept: the model's state by epoch, as `snapshots` says.
    """

    model: nn.Module
    data: Labelled
    config: TrainConfig
    info: RunInfo
    progress: Progress
    run: int = 0
    recorders: Sequence[Recorder] = ()
    sampler: Sampler | None = None
    visits: int | None = None
    weighter: Weighter | None = None
    validation: Labelled | None = None
    validate: bool = True
    grad_memory: int = GRAD_MEMORY
    snapshots: frozenset[int] = frozenset()
    state_file: Path | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.device = self.data.inputs.device
        self.optimizer = make_optimizer(self.model, self.config)
        self.view = self.data.inputs.views(self.config)
        self.forward = make_forward(self.model, compiled=self.config.compile)
        self.target = self.data.target.to(self.device)
        self.weight = None if self.data.weight is None else self.data.weight.to(self.device)
        hooks = [*self._watchers(), *([self.sampler] if self.sampler else [])]
        self.saved = RunState(self.state_file, self.model, self.optimizer, hooks, self.history, self.kept)

    def train(self, last_epoch: int | None = None) -> list[dict[str, Any]]:
        """Train up to `last_epoch` of the schedule (default all of it).

        Returns:
            One row an epoch: `epoch, seconds`, of these `plan_seconds` for what the sampler does before
            the first batch and `visit_seconds` for the training visits, `visited, loss` (mean over visits),
            `lr` (of the last step), `class_visited` and `class_loss` (C counts and C sums of losses), with
            validation data `val_accuracy` and `val_worst_class`, and what the sampler tells.

        Raises:
            UsageError: a recorder asks for embeddings of a model that has no head.
            DpruneError: the loss is no longer finite, or the model cannot be compiled.
        """
        # The epoch that is to be recorded may be the last; hours later is too late.
        if tap := self._tap(self.recorders):
            tap.remove()
        nothing = torch.empty(0, dtype=torch.int64)
        check_empty(self.model, self.data.inputs.clean(self.data.inputs.get(nothing)))
        for hook in self._watchers():
            hook.start(self.info)
        if self.sampler:
            self.sampler.start(self.info, self.visits)
        done = self.saved.restore()
        self._keep(done)
        self._settle(done)
        last = self.config.epochs if last_epoch is None else last_epoch
        epochs = range(done + 1, last + 1)
        for epoch in self.progress.track(epochs, last, "train", unit=EPOCHS, done=done):
            self.train_epoch(epoch)
            self._keep(epoch)
            self._settle(epoch)
            self.saved.save(epoch)
        return self.history

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch, with the clean passes and the validation that follow it."""
        began = time.perf_counter()
        plan = self._plan(epoch)
        planned = time.perf_counter()
        # Every process drops other parts of its own samples.
        with seeded(self._seed("dropout", epoch) + ranks.rank(), self.device):
            row = self._visit(epoch, plan)
        visited = time.perf_counter()
        self._probe(epoch)
        row |= self._validate(epoch)
        seconds = {
            "seconds": time.perf_counter() - began,
            "plan_seconds": planned - began,
            "visit_seconds": visited - planned,
        }
        self.history.append({"epoch": epoch, **seconds, **row})
        refuse_divergence(self.model, epoch, row["loss"])

    def _plan(self, epoch: int) -> EpochPlan:
        if self.sampler is None:
            return EpochPlan(self.data.rows)
        plan = self.sampler.plan(epoch, numpy_rng(self.config.seed, "sampler", self.run, epoch))
        if ranks.size() == 1:
            return plan
        # Machines round differently, and all processes must visit the same rows.
        rows, scale = ranks.broadcast((plan.rows, None if plan.scale is None else plan.scale.cpu()))
        return EpochPlan(rows, None if scale is None else scale.to(self.device))

    def _visit(self, epoch: int, plan: EpochPlan) -> dict[str, Any]:
        # Sorted, so that the order is a function of which rows they are alone.
        order = numpy_rng(self.config.seed, "order", self.run, epoch).permutation(np.sort(plan.rows))
        pieces = self.data.batches(order, self.config.batch_size)
        # Every epoch takes an equal part of the schedule, so what later ones will visit need not be known.
        steps = len(pieces)
        generator = torch.Generator(self.device).manual_seed(self._seed("augment", epoch))
        watchers = watching(self.recorders, Phase.TRAIN, epoch)
        tap = self._tap(watchers)
        tally = Tally(self.info.classes, self.device)
        what = f"epoch {epoch}/{self.config.epochs}"
        batches = zip(pieces, self.data.inputs.batches([piece.own for piece in pieces]), strict=True)
        rate = 0.0
        train_mode(self.model)
        counted = self.progress.track(batches, len(order), what, size=lambda batch: len(batch[0].rows))
        for number, (piece, (_, stored)) in enumerate(counted):
            viewed = self.view(stored, generator, piece)
            with autocast(self.device, enabled=self.config.amp):
                logits = self.forward(viewed).float()
            features = self.data.gather(tap.take().detach().float(), piece) if tap else None
            index = torch.from_numpy(piece.rows).to(self.device, non_blocking=True)
            seen = self.data.gather(logits.detach(), piece)
            obs = observe(Phase.TRAIN, epoch, index, self.target[index], seen, features)
            step = (epoch - 1) * steps + number
            rate = learning_rate(self.config, step, self.config.epochs * steps, steps)
            self._step(logits, piece, obs, rate, plan.scale)
            show(watchers, obs)
            self._show(obs)
            tally.add(obs)
        if tap:
            tap.remove()
        return {"lr": rate, **tally.row(), **(self.sampler.facts() if self.sampler else {})}

    def _show(self, obs: BatchObs) -> None:
        if self.sampler and self.sampler.phase is obs.phase:
            self.sampler.update(obs)

    def _step(self, logits: Tensor, piece: Piece, obs: BatchObs, rate: float, scale: Tensor | None) -> None:
        part = torch.from_numpy(piece.part).to(self.device, non_blocking=True)
        loss = sample_loss(logits, obs.target[part], self.config.label_smoothing)
        weight = torch.ones_like(obs.loss) if self.weight is None else self.weight[obs.index]
        weight = weight if scale is None else weight * scale[obs.index]
        coef = self.weighter.coef(obs, weight) if self.weighter else weight / len(weight)
        self.optimizer.zero_grad(set_to_none=True)
        # Gradients become the mean over processes, and the loss of the batch is the sum over them.
        torch.autograd.backward((coef[part] * loss).sum() * ranks.size())
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
                    show(group, obs)

    def _validate(self, epoch: int) -> dict[str, float]:
        if self.validation is None or not self.validate:
            return {}
        passes = self._clean(self.validation, Phase.VALIDATION, epoch)
        count, right = count_correct(passes, self.info.classes, self._show)
        recall = right / count
        if self.weighter:
            self.weighter.end_epoch(epoch, recall)
        worst = recall[count > 0].min()
        return {"val_accuracy": float(right.sum() / count.sum()), "val_worst_class": float(worst)}

    def _clean(
        self, data: Labelled, phase: Phase, epoch: int, fields: frozenset[Field] = frozenset()
    ) -> Iterable[BatchObs]:
        how: dict[str, Any] = {"amp": self.config.amp, "fields": fields, "grad_memory": self.grad_memory}
        passes = probe(self.model, data, phase=phase, epoch=epoch, **how)
        what = "validation" if phase is Phase.VALIDATION else "clean pass"
        return self.progress.track(passes, len(data.rows), what, size=len)

    def _tap(self, recorders: Iterable[Recorder]) -> EmbeddingTap | None:
        return EmbeddingTap(self.model) if Field.EMBEDDING in wanted_fields(recorders) else None

    def _seed(self, stream: str, epoch: int) -> int:
        return derive(self.config.seed, stream, self.run, epoch)

    def _settle(self, epoch: int) -> None:
        """What was recorded up to an epoch stands."""
        for recorder in self.recorders:
            recorder.settle(epoch)
        # The checkpoint says so; not before the others have written their parts.
        ranks.wait()

    def _keep(self, epoch: int) -> None:
        if epoch in self.snapshots:
            self.kept[epoch] = {name: value.clone() for name, value in self.model.state_dict().items()}

    def _watchers(self) -> list[Recorder | Weighter]:
        return [*self.recorders, *([self.weighter] if self.weighter else [])]

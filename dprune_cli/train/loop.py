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

from dprune_cli.core.config import TrainConfig
from dprune_cli.core.progress import Progress
from dprune_cli.core.seeds import derive, numpy_rng
from dprune_cli.data.batch import count_pieces
from dprune_cli.models.compiled import compile_model
from dprune_cli.models.head import EmbeddingTap
from dprune_cli.models.modes import train_mode
from dprune_cli.train.checkpoint import load_state, save_state
from dprune_cli.train.hooks import EpochPlan, Recorder, Sampler, Weighter
from dprune_cli.train.losses import sample_loss
from dprune_cli.train.observe import BatchObs, Field, Phase, RunInfo, observe
from dprune_cli.train.optim import learning_rate, make_optimizer, refuse_divergence, set_rate
from dprune_cli.train.probe import BATCH, GRAD_MEMORY, Labelled, autocast, count_correct, probe
from dprune_cli.train.seeding import seeded
from dprune_cli.train.tally import Tally
from dprune_cli.train.watching import shared_passes, wanted_fields, watching


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
        self.forward = compile_model(self.model) if self.config.compile else self.model
        self.target = self.data.target.to(self.device)
        self.weight = None if self.data.weight is None else self.data.weight.to(self.device)

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
        for hook in self._watchers():
            hook.start(self.info)
        if self.sampler:
            self.sampler.start(self.info, self.visits)
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
        plan = self._plan(epoch)
        planned = time.perf_counter()
        with seeded(self._seed("dropout", epoch), self.device):
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
        return self.sampler.plan(epoch, numpy_rng(self.config.seed, "sampler", self.run, epoch))

    def _visit(self, epoch: int, plan: EpochPlan) -> dict[str, Any]:
        # Sorted, so that the order is a function of which rows they are alone.
        order = numpy_rng(self.config.seed, "order", self.run, epoch).permutation(np.sort(plan.rows))
        # Every epoch takes an equal part of the schedule, so what later ones will visit need not be known.
        steps = count_pieces(len(order), self.config.batch_size)
        generator = torch.Generator(self.device).manual_seed(self._seed("augment", epoch))
        watchers = watching(self.recorders, Phase.TRAIN, epoch)
        tap = self._tap(watchers)
        tally = Tally(self.info.classes, self.device)
        what = f"epoch {epoch}/{self.config.epochs}"
        batches = self.data.inputs.batches(order, self.config.batch_size)
        rate = 0.0
        train_mode(self.model)
        for number, (index, stored) in enumerate(self.progress.track(batches, steps, what)):
            index = index.to(self.device, non_blocking=True)
            viewed = self.view(stored, generator)
            with autocast(self.device, enabled=self.config.amp):
                logits = self.forward(viewed)
            features = tap.take().detach().float() if tap else None
            obs = observe(Phase.TRAIN, epoch, index, self.target[index], logits, features)
            step = (epoch - 1) * steps + number
            rate = learning_rate(self.config, step, self.config.epochs * steps, steps)
            self._step(logits.float(), obs, rate, plan.scale)
            for recorder in watchers:
                recorder.update(obs)
            self._show(obs)
            tally.add(obs)
        if tap:
            tap.remove()
        return {"lr": rate, **tally.row(), **(self.sampler.facts() if self.sampler else {})}

    def _show(self, obs: BatchObs) -> None:
        if self.sampler and self.sampler.phase is obs.phase:
            self.sampler.update(obs)

    def _step(self, logits: Tensor, obs: BatchObs, rate: float, scale: Tensor | None) -> None:
        loss = sample_loss(logits, obs.target, self.config.label_smoothing)
        weight = torch.ones_like(loss) if self.weight is None else self.weight[obs.index]
        weight = weight if scale is None else weight * scale[obs.index]
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
        return self.progress.track(passes, count_pieces(len(data.rows), BATCH), what)

    def _tap(self, recorders: Iterable[Recorder]) -> EmbeddingTap | None:
        return EmbeddingTap(self.model) if Field.EMBEDDING in wanted_fields(recorders) else None

    def _seed(self, stream: str, epoch: int) -> int:
        return derive(self.config.seed, stream, self.run, epoch)

    def _keep(self, epoch: int) -> None:
        if epoch in self.snapshots:
            self.kept[epoch] = {name: value.clone() for name, value in self.model.state_dict().items()}

    def _stateful(self) -> dict[str, dict[str, Tensor]]:
        hooks = [*self._watchers(), *([self.sampler] if self.sampler else [])]
        return {f"{number}:{type(hook).__name__}": hook.state for number, hook in enumerate(hooks)}

    def _watchers(self) -> list[Recorder | Weighter]:
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

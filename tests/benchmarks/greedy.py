"""Greedy picks against the distance arithmetic alone: one N x D by D product in float32 a pick.

Budget: k_center and herding <= 1.5x of it for 10 % picks of 50,000 x 512 features. Products and picks take
turns. Then the time of a whole order by each of the greedy scores.

    python tests/benchmarks/greedy.py [SAMPLES] [WIDTH] [SHARE_OF_PICKS] [SAMPLES_OF_A_WHOLE_ORDER]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from dprune_cli.scores.base import SCORES
from dprune_cli.scores.herding import order_herd
from dprune_cli.scores.k_center import order_centres
from dprune_cli.train.observe import RunInfo

CLASSES, TURNS = 10, 3
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds(work: Callable[[], object]) -> float:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def make_features(count: int, width: int) -> tuple[Tensor, Tensor]:
    """Clusters after a ReLU, as embeddings are; their classes."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(CLASSES, (count,), generator=generator)
    noise = torch.randn(count, width, generator=generator) * torch.logspace(0, -2, width)
    centres = torch.randn(CLASSES, width, generator=generator)
    return (centres[target] + 0.5 * noise).relu().to(DEVICE), target.to(DEVICE)


def multiply(features: Tensor, times: int) -> None:
    """The distance arithmetic alone."""
    out = torch.empty(len(features), device=DEVICE)
    for pick in range(times):
        torch.mv(features, features[pick % len(features)], out=out)


def compare(features: Tensor, share: float) -> None:
    """Ratios of picking to products, side by side."""
    picks = int(share * len(features))
    print(f"{len(features)} x {features.shape[1]} on {DEVICE}, {picks} picks")
    sample = max(1, picks // 10)
    multiply(features, 10)
    for name, order in (("k_center", order_centres), ("herding", order_herd)):
        ratios, took = [], []
        for _ in range(TURNS):
            before = seconds(lambda: multiply(features, sample))
            took.append(seconds(lambda order=order: order(features, picks)))
            after = seconds(lambda: multiply(features, sample))
            ratios.append(took[-1] / picks / ((before + after) / 2 / sample))
        ratio = statistics.median(ratios)
        print(f"{name}: {statistics.median(took):.1f} s, {ratio:.2f}x the products (<= 1.5x)")


def order_everything(count: int, width: int) -> None:
    """Seconds of the whole order by every greedy score."""
    features, target = make_features(count + count // 10, width)
    logits = features @ torch.randn(width, CLASSES, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    run = RunInfo([f"key{row}" for row in range(count)], target[:count], CLASSES, 30, validation=count // 10)
    recorded = {
        "embedding": features[:count],
        "logits": logits[:count],
        "val_embedding": features[count:],
        "val_logits": logits[count:],
        "val_target": target[count:].float(),
        "transitions": torch.stack([torch.arange(count) % 7, torch.ones(count)]).int(),
    }
    print(f"whole order of {count} x {width} on {DEVICE}, {CLASSES} classes")
    for spec in (
        "k_center",
        "k_center:per_class=true",
        "herding",
        "herding:per_class=false",
        "glister",
        "d2",
        "d2:per_class=false",
    ):
        score = SCORES.make(spec)
        needs = {name: recorded[name] for name in score.recorders(30)}
        print(f"{spec}: {seconds(lambda score=score, needs=needs: score.compute(run, **needs)):.1f} s")


def main() -> None:
    given = [*sys.argv[1:], *("50000", "512", "0.1", "10000")[len(sys.argv) - 1 :]]
    count, width, share, whole = int(given[0]), int(given[1]), float(given[2]), int(given[3])
    compare(make_features(count, width)[0], share)
    order_everything(whole, width)


if __name__ == "__main__":
    main()

"""Why keeping more of the hard class helps the worst class: DRoP's two Gaussians, worked out.

Section 3 of Vysogorets, Ahuja, Kempe, "DRoP: Distributionally Robust Data Pruning", ICLR 2025,
https://arxiv.org/abs/2404.05579. Class 0 is N(-1, 0.5), class 1 is N(1, 1), equally frequent, and a
threshold t predicts class 1 above it. Pruning changes the class frequencies, and thereby the best t.

    python samples/drop_toy.py

The quotas come from the package itself: what is shown is its DRoP rule, not a formula of this file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dprune_cli.core.seeds import numpy_rng
from dprune_cli.quotas.base import QUOTAS, QuotaInput, Validation, quotas_for

MEANS = (-1.0, 1.0)
SIGMAS = (0.5, 1.0)
NAMES = ["narrow", "wide"]
DENSITY = 0.75


def risks(threshold: float) -> tuple[float, float]:
    """Exact risk of each class when everything above `threshold` is predicted to be class 1.

    >>> [round(risk, 3) for risk in risks(-1 / 3)]
    [0.091, 0.091]
    """
    z0, z1 = ((threshold - mean) / sigma for mean, sigma in zip(MEANS, SIGMAS, strict=True))
    return 0.5 * math.erfc(z0 / math.sqrt(2)), 0.5 * math.erfc(-z1 / math.sqrt(2))


def best_threshold(prior_ratio: float) -> float:
    """The t with the least average risk when class 0 is `prior_ratio` times as frequent as class 1.

    There the two densities, times their priors, are equal; the logarithms of both are parabolas in t, and
    of the two points where these cross it is the one below which class 0 is the likelier.

    >>> round(best_threshold(1.0), 6), round(best_threshold(0.5), 6)
    (-0.170045, -0.333333)
    """
    (m0, m1), (s0, s1) = MEANS, SIGMAS
    a = 0.5 / s0**2 - 0.5 / s1**2
    b = m1 / s1**2 - m0 / s0**2
    c = 0.5 * (m0 / s0) ** 2 - 0.5 * (m1 / s1) ** 2 + math.log(s0 / (s1 * prior_ratio))
    return -2 * c / (b + math.sqrt(b * b - 4 * a * c))


def minimax_threshold() -> float:
    """The t at which both classes have the same risk: no other t has a better worst class."""
    return (MEANS[0] * SIGMAS[1] + MEANS[1] * SIGMAS[0]) / (SIGMAS[0] + SIGMAS[1])


def drop_quotas(available: NDArray[np.int64], validation: Validation, total: int) -> NDArray[np.int64]:
    """How many points of each class `dprune quota --method drop` keeps."""
    given = QuotaInput(
        total=total,
        names=NAMES,
        available=available,
        stratum=np.repeat(np.arange(2), available),
        validation=(validation,),
        column=lambda name: np.empty(0),
        tie=lambda rows: rows.astype(np.uint64),
        keep_first=lambda name: None,
    )
    return quotas_for(QUOTAS.make("drop"), given).quotas


def exact_drop_densities(density: float = DENSITY, points: int = 10**6) -> tuple[float, float]:
    """DRoP's density of each class when recalls are known exactly.

    >>> exact_drop_densities(0.75)
    (0.5, 1.0)
    """
    errors = np.array([round(risk * points) for risk in risks(best_threshold(1.0))])
    count = np.array([points, points])
    quotas = drop_quotas(count, Validation(errors, count), round(density * 2 * points))
    return float(quotas[0] / points), float(quotas[1] / points)


@dataclass(frozen=True)
class Sample:
    """N points (N,) and their classes (N,)."""

    point: NDArray[np.float64]
    label: NDArray[np.int64]


def draw(rng: np.random.Generator, points: int) -> Sample:
    """`points` points, half of each class."""
    label = np.arange(points) % 2
    return Sample(rng.normal(np.take(MEANS, label), np.take(SIGMAS, label)), label)


def fit_threshold(sample: Sample) -> float:
    """The threshold with the fewest errors on a sample; the middle one if there are several."""
    order = np.argsort(sample.point)
    point, label = sample.point[order], sample.label[order]
    # Moving t above a point of class 1 makes it an error, above one of class 0 mends one.
    errors = np.concatenate([[0], np.cumsum(np.where(label == 1, 1, -1))])
    edges = np.concatenate([[point[0] - 1], point, [point[-1] + 1]])
    middles = (edges[:-1] + edges[1:]) / 2
    best = np.flatnonzero(errors == errors.min())
    return float(middles[best[len(best) // 2]])


def prune(rng: np.random.Generator, sample: Sample, quotas: NDArray[np.int64]) -> Sample:
    """Keep a random `quotas[k]` points of each class k."""
    kept = np.concatenate(
        [rng.permutation(np.flatnonzero(sample.label == k))[:quota] for k, quota in enumerate(quotas)]
    )
    return Sample(sample.point[kept], sample.label[kept])


def experiment(rng: np.random.Generator, points: int = 400) -> dict[str, float]:
    """Thresholds fitted to one data set: all of it, a random part, and a part by DRoP quotas.

    The recalls that DRoP goes by are those of the threshold of all points, on as many new ones.
    """
    sample, fresh = draw(rng, points), draw(rng, points)
    total = round(DENSITY * points)
    full = fit_threshold(sample)
    wrong = (fresh.point > full) != (fresh.label == 1)
    validation = Validation(
        np.bincount(fresh.label[wrong], minlength=2), np.bincount(fresh.label, minlength=2)
    )
    quotas = drop_quotas(np.bincount(sample.label, minlength=2), validation, total)
    part = rng.permutation(points)[:total]
    return {
        "all points": full,
        "random 75 %": fit_threshold(Sample(sample.point[part], sample.label[part])),
        "DRoP 75 %": fit_threshold(prune(rng, sample, quotas)),
    }


def repeat(sets: int = 10, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """`experiment` on several data sets: (sets, 3) threshold and the two class risks, by selection."""
    runs = [experiment(numpy_rng(seed, "toy", number)) for number in range(sets)]
    return {name: np.array([(run[name], *risks(run[name])) for run in runs]) for name in runs[0]}


def main() -> None:
    """Print both tables."""
    print("Two Gaussians, N(-1, 0.5) and N(1, 1), one threshold t. Exact risks:\n")
    print(f"{'':24}{'t':>8}{'narrow':>10}{'wide':>10}{'worst':>10}")
    d0, d1 = exact_drop_densities()
    rows = {
        "all points": best_threshold(1.0),
        "random 75 %": best_threshold(1.0),
        f"DRoP 75 % ({d0:.0%}, {d1:.0%})": best_threshold(d0 / d1),
        "best for worst class": minimax_threshold(),
    }
    for name, threshold in rows.items():
        narrow, wide = risks(threshold)
        print(f"{name:24}{threshold:8.3f}{narrow:10.2%}{wide:10.2%}{max(narrow, wide):10.2%}")
    print("\nFitted to 10 data sets of 400 points, mean and standard deviation:\n")
    print(f"{'':14}{'t':>16}{'narrow':>18}{'wide':>18}{'worst':>18}")
    for name, found in repeat().items():
        worst = found[:, 1:].max(axis=1)
        cells = "".join(f"{column.mean():10.2%} ±{column.std():6.2%}" for column in (*found[:, 1:].T, worst))
        print(f"{name:14}{found[:, 0].mean():9.3f} ±{found[:, 0].std():5.3f}{cells}")


if __name__ == "__main__":
    main()

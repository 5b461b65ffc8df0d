"""Points in the plane that have the neighbours of an embedding: t-SNE (van der Maaten and Hinton, 2008).

Distances and sizes of groups in such a picture mean little; which samples lie together means something.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A picture of more points is a blot, and the time grows faster than their number.
MOST_POINTS = 3000
LEAST_POINTS = 3
# The paper's: a few dozen components hold the neighbourhoods, and speed up the search for them.
_COMPONENTS = 50
_PERPLEXITY = 30.0


@dataclass(frozen=True)
class Plane:
    """Samples in a plane, near those that are near in the embedding.

    Attributes:
        place: (n, 2) where each is.
        label: (n,) class ids.
        kept: (n,) whether each is kept; None if nothing says so.
        classes: names by id.
        samples: N, of which n are drawn.
    """

    place: NDArray[np.float64]
    label: NDArray[np.int64]
    kept: NDArray[np.bool_] | None
    classes: list[str]
    samples: int


def lay_out(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n, 2) places of (n, D) finite points, the same ones every time for the same points.

    Principal components, 50 of them if there are as many, then scikit-learn's t-SNE from the first two of
    them, with a perplexity of 30, or of a third of the points if there are few. Runs in one thread, because
    sums of several would differ in their last digits, which a t-SNE amplifies.

    Args:
        points: at least `LEAST_POINTS` of them.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    count = len(points)
    values = np.asarray(points, np.float64)
    values = values - values.mean(0)
    scale = np.abs(values).max()
    if scale == 0:
        return np.zeros((count, 2))
    # A t-SNE has no scale, and squares of very large or small numbers are none.
    values /= scale
    with threadpool_limits(1):
        size = min(_COMPONENTS, *values.shape)
        parts = PCA(size, svd_solver="full").fit_transform(values)
        if size == 1:
            parts = np.pad(parts, ((0, 0), (0, 1)))
        start = 1e-4 * parts[:, :2] / parts[:, 0].std()
        perplexity = min(_PERPLEXITY, (count - 1) / 3)
        plane = TSNE(2, perplexity=perplexity, init=start, random_state=0, n_jobs=1)
        return np.asarray(plane.fit_transform(parts), np.float64)

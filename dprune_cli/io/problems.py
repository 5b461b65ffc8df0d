"""What is wrong with a data set, in lines for a person to read."""

from __future__ import annotations

from collections import Counter

import numpy as np

from dprune_cli.io.samples import Samples
from dprune_cli.io.table import OK

MOST_LINES = 20


def problems(samples: Samples, most: int = MOST_LINES) -> list[str]:
    """Damaged shards, then samples that cannot be used, then how many there are of each kind.

    Args:
        samples: the data set.
        most: lines about samples, and about shards, before the rest is only counted.
    """
    lines = [*samples.damage[:most]]
    if len(samples.damage) > most:
        lines.append(f"... and {len(samples.damage) - most} more damaged shards")
    bad = np.flatnonzero(samples.status != OK)
    for row in bad[:most].tolist():
        shard = samples.shards[int(samples.shard[row])]
        kind = "shard" if samples.offset[row] >= 0 else "file"
        lines.append(f"{samples.keys[row]}: {samples.status[row]} ({kind} {shard})")
    if len(bad) > most:
        lines.append(f"... and {len(bad) - most} more")
    if len(bad):
        counts = sorted(Counter(samples.status[bad].tolist()).items(), key=lambda item: (-item[1], item[0]))
        kinds = ", ".join(f"{count} {status}" for status, count in counts)
        lines.append(f"{len(bad)} of {len(samples)} samples cannot be used: {kinds}")
    return lines

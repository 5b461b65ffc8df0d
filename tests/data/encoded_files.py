from __future__ import annotations

import io

import numpy as np
from PIL import Image

from dprune_cli.io.samples import Samples


def encode(pixels, kind="PNG", **options):
    """Encoded bytes of an array (height, width[, channels])."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, kind, **options)
    return target.getvalue()


def make_samples(base, files, *, shard=None, status=None):
    """Samples over encoded images: one file each, or one after the other in the shard of that name."""
    if shard is None:
        for name, raw in files.items():
            (base / name).write_bytes(raw)
        shards, starts = list(files), [0] * len(files)
        which = np.arange(len(files))
    else:
        (base / shard).write_bytes(b"HEAD" + b"".join(files.values()))
        starts = 4 + np.cumsum([0, *map(len, files.values())])[:-1]
        shards, which = [shard], np.zeros(len(files))
    inside = shard is not None
    sizes = np.array([len(raw) for raw in files.values()], np.int64)
    return Samples(
        root=["DATA"],
        base=base,
        shards=shards,
        keys=[name.partition(".")[0] for name in files],
        label=np.arange(len(files), dtype=np.int32) % 3,
        group=None,
        shard=which.astype(np.int32),
        offset=np.array(starts, np.int64) if inside else np.full(len(files), -1, np.int64),
        size=sizes if inside else np.full(len(files), -1, np.int64),
        image_offset=np.array(starts, np.int64),
        image_size=sizes,
        status=np.array(status or ["ok"] * len(files), object),
        classes=["a", "b", "c"],
        groups=[],
        reading={},
    )

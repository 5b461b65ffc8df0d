"""Time of the tar index against `tarfile.getmembers`, side by side in one run; budget: >= 10x.

python tests/benchmarks/tar_index.py [MEMBERS]
"""

from __future__ import annotations

import io
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dprune_cli.io.tar_index import index_tar
from dprune_cli.io.tar_samples import group_members


def write(path: Path, members: int, tar_format: int, mtime: float) -> None:
    """A shard of 1 KB images and labels."""
    with tarfile.open(path, "w", format=tar_format) as archive:
        for number in range(members // 2):
            for suffix, content in (("jpg", bytes(1024)), ("cls", b"7")):
                item = tarfile.TarInfo(f"train/n{number % 100:03d}/{number:08d}.{suffix}")
                item.size, item.mtime = len(content), mtime
                archive.addfile(item, io.BytesIO(content))


def best(action: Callable[[], object], repeat: int = 5) -> float:
    """Seconds of the fastest of several runs."""
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return min(times)


def reference(path: Path) -> int:
    with tarfile.open(path, "r:") as archive:
        return len(archive.getmembers())


def main() -> None:
    members = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    shards = {
        "ustar": (tarfile.USTAR_FORMAT, 0),
        "gnu": (tarfile.GNU_FORMAT, 0),
        "pax with fractional times (WebDataset's writer)": (tarfile.PAX_FORMAT, 1.5),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, (tar_format, mtime) in shards.items():
            path = Path(folder) / "shard.tar"
            write(path, members, tar_format, mtime)
            slow = best(lambda path=path: reference(path), 3)
            walk = best(lambda path=path: index_tar(path))
            whole = best(lambda path=path: group_members(index_tar(path)))
            print(
                f"{name}: {members} members; tarfile.getmembers {1e6 * slow / members:.2f} us a member, "
                f"walk {1e6 * walk / members:.2f}, walk and samples {1e6 * whole / members:.2f}; "
                f"ratio {slow / walk:.1f}x, with samples {slow / whole:.1f}x (budget 10x)"
            )


if __name__ == "__main__":
    main()

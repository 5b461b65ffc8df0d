"""What `dprune select` writes besides the table: shards, a folder, keys."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dprune_cli.core import ranks
from dprune_cli.core.errors import DataError
from dprune_cli.core.progress import BYTES, FILES, Progress
from dprune_cli.core.seeds import numpy_rng
from dprune_cli.io.folder_out import unpack_images, write_images
from dprune_cli.io.outputs import STDOUT, check_apart, inside, standard_output, whole_folder
from dprune_cli.io.remote import Place
from dprune_cli.io.shared import shared_folder
from dprune_cli.io.table import ScoreTable
from dprune_cli.io.tar_copy import copy_spans, stream_spans
from dprune_cli.io.tar_pack import ImageFiles, pack_images, stream_images, write_index
from dprune_cli.io.tar_plan import Shard, Spans
from dprune_cli.stages.output_contents import Describe
from dprune_cli.stages.sample_places import find_base, find_files, find_spans
from dprune_cli.stages.select import SelectOutputs


def write_outputs(
    kept: ScoreTable, outputs: SelectOutputs, *, progress: Progress, describe: Describe | None = None
) -> list[Shard]:
    """Write the kept samples as shards, as a folder, or both.

    Args:
        kept: their rows alone.
        outputs: what is wanted.
        progress: told how far it is.
        describe: writes what else belongs into a folder, before that takes its place.

    Returns:
        The shards that were written.

    Raises:
        DataError: the samples cannot be found, or changed since they were scored.
    """
    kept.need("key", "label", "shard")
    base = find_base(kept, outputs.data)
    _check_apart(kept, base, outputs)
    files = kept.data["offset"].null_count if "offset" in kept else len(kept)
    spans = files < len(kept)
    if spans and files:
        raise DataError(
            f"{kept.source}: {files} of the kept samples are image files and the others are in shards; "
            "score and select each kind by itself"
        )
    classes = kept.stratum_names("class")
    written: list[Shard] = []
    if outputs.shards is not None:
        rows = _order(kept, outputs, from_shards=spans)
        source = find_spans(kept, rows, base) if spans else find_files(kept, rows, base)
        written = _write_shards(source, outputs, classes, progress, describe)
    if outputs.folder is not None and ranks.is_main():
        rows = np.arange(len(kept))
        with whole_folder(outputs.folder, force=outputs.force) as part:
            if spans:
                counts = {"checked": progress.count("check"), "written": progress.count("unpack", FILES)}
                unpack_images(find_spans(kept, rows, base), kept.integers("label"), part, classes, **counts)
            else:
                files = find_files(kept, rows, base)
                write_images(files, part, classes, written=progress.count("link", FILES))
            if describe is not None:
                describe(part, None)
    return written


def _write_shards(
    source: Spans | ImageFiles,
    outputs: SelectOutputs,
    classes: list[str],
    progress: Progress,
    describe: Describe | None,
) -> list[Shard]:
    checked, copied = progress.count("check"), progress.count("copy", BYTES)
    limits = {"shard_samples": outputs.shard_samples, "shard_bytes": outputs.shard_bytes}
    if outputs.shards == STDOUT:
        if not ranks.is_main():
            return []
        with standard_output() as sink:
            if isinstance(source, Spans):
                return [stream_spans(source, sink, classes, checked=checked, copied=copied)]
            return [stream_images(source, sink, classes, copied=copied)]
    with shared_folder(str(outputs.shards), force=outputs.force) as part:
        if isinstance(source, Spans):
            shards = copy_spans(source, part, **limits, checked=checked, copied=copied)
        else:
            shards = pack_images(source, part, **limits, copied=copied)
        if ranks.is_main():
            write_index(part, shards, classes)
            if describe is not None:
                describe(part, shards)
        return shards


def _check_apart(table: ScoreTable, base: Place, outputs: SelectOutputs) -> None:
    """Refuse an output folder that `force` would replace together with the samples in it."""
    for output in (outputs.shards, outputs.folder):
        if output is None or output == STDOUT:
            continue
        check_apart(output, [base])
        if (below := inside(output, base)) is not None:
            names = table.data["shard"].unify_dictionaries().combine_chunks().dictionary.to_pylist()
            check_apart(output, [base / name for name in names if name.startswith(f"{below}/")][:1])


def _order(kept: ScoreTable, outputs: SelectOutputs, *, from_shards: bool) -> NDArray[np.int64]:
    """Rows as they are written: from shards in input order, from files shuffled.

    Files come sorted by class, and class-sorted shards spoil streaming training.
    """
    if outputs.shuffle or not from_shards:
        return numpy_rng(outputs.seed, "shuffle").permutation(len(kept))
    return np.lexsort((kept.integers("offset"), _places(kept.data["shard"].cast(pa.string()))))


def _places(names: pa.ChunkedArray) -> NDArray[np.int64]:
    """The place of every name among the sorted distinct names."""
    encoded = names.combine_chunks().dictionary_encode()
    place = np.argsort(np.argsort(encoded.dictionary.to_numpy(zero_copy_only=False).astype(str)))
    return place[encoded.indices.to_numpy()]

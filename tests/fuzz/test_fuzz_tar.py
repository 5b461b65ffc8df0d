from __future__ import annotations

import tarfile

import numpy as np
import pytest
from hypothesis import strategies as st
from mutations import Raw
from tar_cases import BLOCK, archives, comparable, damaged, valid

from dprune_cli.core.errors import DataError, DpruneError
from dprune_cli.io.dataset import open_samples
from dprune_cli.io.tar_copy import copy_spans
from dprune_cli.io.tar_header import parse_number
from dprune_cli.io.tar_index import index_tar, map_file
from dprune_cli.io.tar_plan import Spans
from dprune_cli.io.tar_samples import group_members

FEW_AND_MANY = pytest.mark.parametrize("cases", [25, pytest.param(3000, marks=pytest.mark.slow)])


def read_by_tarfile(path, length):
    """What `tarfile` reads of the regular files that are whole, and whether it came to an end."""
    found = []
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as archive:
            for item in archive:
                end = item.offset_data + item.size + -item.size % BLOCK
                if item.size < 0:
                    return found, False
                if item.isreg() and item.sparse is None and end <= length:
                    found.append((item.name, item.offset, item.offset_data, item.size))
            after = archive.offset
    except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError, MemoryError):
        return found, False
    # It stops without a word at a header that it cannot read.
    return found, not any(path.read_bytes()[after : after + BLOCK])


def listed(members):
    columns = (members.start.tolist(), members.data.tolist(), members.size.tolist())
    return list(zip(members.names, *columns, strict=True))


def says_its_name(raw, member):
    """Whether the name of a member stands in its own header, or in headers padded with zeros.

    Of others `tarfile` takes the padding for a part of the name, and what stands at the place of a prefix for
    one in headers that know none.
    """
    _, position, data, _ = member
    if raw[data - BLOCK + 345] and raw[data - BLOCK + 257 : data - BLOCK + 263] != b"ustar\0":
        return False
    while position + BLOCK < data:
        size = parse_number(raw[position + 124 : position + 136])
        end = position + BLOCK + size + -size % BLOCK
        if size < 0 or any(raw[position + BLOCK + size : end]):
            return False
        position = end
    return True


def same(raw, ours, theirs):
    """Whether all agree, and their first headers and names too where there is no doubt about them."""
    for one, other in zip(ours, theirs, strict=False):
        if one[2:] != other[2:] or not other[1] <= one[1] < one[2]:
            return False
        doubtful = one[1] != other[1] or "\0" in other[0] or not says_its_name(raw, one)
        if one[0] != other[0] and not doubtful:
            return False
    return True


def usable(samples):
    return np.flatnonzero(~samples.scattered & ~samples.repeated).tolist()


@FEW_AND_MANY
def test_an_index_never_fails_and_says_what_tarfile_says(cases, fuzz, place):
    def check(raw):
        path = place / "a.tar"
        path.write_bytes(raw)
        try:
            members = index_tar(path)
        except DataError:
            return
        ours = listed(members)
        theirs, ended = read_by_tarfile(path, len(raw))
        assert same(raw, ours, theirs)
        assert members.damage is not None or len(ours) == len(theirs) or not ended
        samples = group_members(members)
        assert (samples.offset >= 0).all() and (samples.offset + samples.size <= len(raw)).all()
        assert (samples.size > 0).all() and (samples.offset % BLOCK == 0).all()

    fuzz(check, cases, comparable)


@FEW_AND_MANY
def test_what_is_copied_from_a_damaged_archive_is_what_was_in_it(cases, fuzz, place):
    def check(raw):
        path, out = place / "a.tar", place / "out"
        path.write_bytes(raw)
        out.mkdir()
        try:
            samples = group_members(index_tar(path))
        except DataError:
            return
        rows = usable(samples)
        keys = [samples.keys[row] for row in rows]
        spans = Spans([path], np.zeros(len(rows), int), samples.offset[rows], samples.size[rows], keys)
        try:
            shards = copy_spans(spans, out)
        except DataError as error:
            assert "changed since it was scored" in str(error)
            return
        if not shards:
            return
        copied = group_members(index_tar(out / shards[0].name))
        assert copied.keys == keys and copied.members.damage is None
        mapped, again = map_file(path), map_file(out / shards[0].name)
        for before, after in zip(rows, range(len(copied)), strict=True):
            first, second = int(samples.offset[before]), int(copied.offset[after])
            size = int(samples.size[before])
            assert mapped[first : first + size] == again[second : second + size]

    fuzz(check, cases, archives)


@FEW_AND_MANY
def test_a_cut_archive_keeps_its_earlier_samples_byte_for_byte(cases, fuzz, place):
    def check(number, share):
        raw = valid(number)
        path = place / "a.tar"
        path.write_bytes(raw)
        whole = group_members(index_tar(path))
        cut = share * len(raw) >> 20
        path.write_bytes(raw[:cut])
        members = index_tar(path)
        ends = (whole.members.end <= cut).sum()
        assert listed(members) == listed(whole.members)[:ends]
        assert members.damage is not None or cut >= whole.members.end[-1] + BLOCK

    fuzz(check, cases, st.integers(0, 5), st.integers(0, (1 << 20) - 1))


@FEW_AND_MANY
def test_data_of_any_bytes_are_read_or_refused(cases, fuzz, place):
    def check(raw, other):
        (place / "a.tar").write_bytes(raw)
        (place / "b.tar").write_bytes(other)
        try:
            samples = open_samples([str(place)])
        except DpruneError:
            return
        assert samples.table().data.num_rows == len(samples)

    fuzz(check, cases // 2, archives, damaged().map(Raw))

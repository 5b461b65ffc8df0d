"""Tar archives that nobody's `tar` would write, and damage to those that it would."""

from __future__ import annotations

import functools
import io
import tarfile

from hypothesis import strategies as st
from mutations import Raw, damage, edits

BLOCK = 512
ALL, NO_PAX = (0, 1, 2, 3, 4, 5), (0, 1, 3, 4)
_PAX_KINDS = (b"x", b"X", b"g")
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
_LONG = "folder/" * 20 + "x" * 90 + ".jpg"
_NAMES = (
    b"a.jpg", b"a.cls", b"a.json", b"b/c.png", b"../up.jpg", b"/top.jpg", b"a.jpg\nb.cls", b"\xff\xfe.jpg",
    b"", b".hidden", b"README", b"__meta__/a.json", b"k." + b"x" * 95, b"dir/", b"a.pyd", b"\x1b[2J.jpg",
)  # fmt: skip
_SIZES = (
    b"00000000000\0", b"00000000001\0", b"00000001000\0", b"00000001001 ", b"77777777777\0", b"777777777777",
    b"-0000000001\0", b"0000000000z\0", b"           \0", b"\0" * 12, b"0_1\0" + bytes(8), b"+1\0" + bytes(9),
    b"\x80" + bytes(10) + b"\x05", b"\x80" + b"\xff" * 11, b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7,
    b"\xff" * 12, b"\xff" * 11 + b"\0", b"\x81" + bytes(10) + b"\x01", b"\xef\xbc\x91" + bytes(9),
    b" 12\0" + bytes(8),
)  # fmt: skip
_RECORDS = (
    b"12 path=abc\n", b"16 path=q/r.jpg\n", b"10 size=3\n", b"11 size=-3\n", b"25 size=99999999999999999\n",
    b"99 path=abc\n", b"3 path=abc\n", b"0 path=abc\n", b"-1 path=abc\n", b"x path=abc\n", b"11 size=1z\n",
    b"7 path=\n", b"14 path=\xff.jpg\n", b"14 path=a\0.jpg\n", b"19 mtime=123456.78\n",
    b"26 GNU.sparse.major=1\n\n",
    b"9999999999 path=abc\n", b"22 hdrcharset=BINARY\n\n", b"12 path=abc", b"", b"21 GNU.sparse.size=10\n",
    b"26 GNU.sparse.map=0,1,2,3\n", b"15 comment=abc\n", b"11 size=12\n11 size=13\n",
)  # fmt: skip


@functools.cache
def valid(number: int) -> bytes:
    """One of a few archives as programs write them, of neighbouring samples with several members each."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=FORMATS[number % 3]) as archive:
        for row in range(5 + 90 * (number > 2)):
            for suffix, content in (("jpg", bytes([row]) * (row * 300 % 1400)), ("cls", b"%d" % (row % 3))):
                _add(
                    archive, f"{'long/' * (row % 3 == 2) * 30}k{row}.{suffix}", content, mtime=0.5 * (row % 2)
                )
            if row == 2:
                _add(archive, "link.jpg", b"", kind=tarfile.SYMTYPE)
                _add(archive, "folder/", b"", kind=tarfile.DIRTYPE)
                if number % 3:
                    _add(archive, _LONG, b"z" * 700)
    return target.getvalue()


def _add(archive, name, content, kind=tarfile.REGTYPE, mtime=0.0):
    item = tarfile.TarInfo(name)
    item.size, item.type, item.mtime, item.linkname = len(content), kind, mtime, "/etc/passwd"
    archive.addfile(item, io.BytesIO(content))


def sign(block: bytes) -> bytes:
    """A header with the checksum that belongs to it."""
    total = sum(block[:148]) + sum(block[156:]) + 8 * 32
    return block[:148] + b"%06o\0 " % total + block[156:]


def header(name: bytes, size: bytes | None, kind: bytes, length: int, magic: bytes, *, sound: bool) -> bytes:
    """512 bytes; the size field says `size`, or the truth."""
    field = b"%011o\0" % length if size is None else size
    block = (
        name[:100].ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + field + b"00000000000\0" + bytes(8)
    )
    block += kind + b"target".ljust(100, b"\0") + magic + bytes(512)
    return sign(block[:BLOCK]) if sound else block[:BLOCK]


_name = st.one_of(st.sampled_from(_NAMES), st.binary(max_size=30))
_size = st.one_of(st.none(), st.none(), st.sampled_from(_SIZES), st.binary(min_size=12, max_size=12))
_magic = st.sampled_from((b"ustar\x0000", b"ustar  \0", bytes(8)))
_sound = st.sampled_from((True, True, True, True, True, True, True, False))
_content = st.sampled_from(
    (b"", b"0", b"cat", b"\xff", b"x" * 511, b"x" * 512, b"x" * 1300, b"path=size=GNU.")
)
_kind = st.one_of(st.sampled_from((b"0", b"0", b"0", b"\0", b"7", *(b"%c" % c for c in b"123456SVAXxgLKMN"))))
_extra = st.lists(
    st.tuples(
        st.sampled_from((b"x", b"x", b"x", b"g", b"L", b"K", b"X")),
        st.one_of(st.sampled_from(_RECORDS), st.sampled_from(_NAMES), st.binary(max_size=40)),
        _size,
        _sound,
    ),
    max_size=2,
)
_tail = st.sampled_from((bytes(1024), bytes(1024), bytes(512), b"", b"rubbish", bytes(10240)))


@st.composite
def made(draw, *, pax: bool = True) -> bytes:
    """An archive from headers that say anything."""
    pieces = []
    for name, size, kind, content, extra, magic, sound in draw(
        st.lists(st.tuples(_name, _size, _kind, _content, _extra, _magic, _sound), min_size=1, max_size=6)
    ):
        if not pax and kind in _PAX_KINDS:
            continue
        for flag, body, length, fine in extra if pax else ():
            pieces.append(header(b"././@PaxHeader", length, flag, len(body), b"ustar\x0000", sound=fine))
            pieces.append(body + bytes(-len(body) % BLOCK))
        pieces.append(header(name, size, kind, len(content), magic, sound=sound))
        pieces.append(content + bytes(-len(content) % BLOCK))
    return b"".join(pieces) + draw(_tail)


@st.composite
def resigned(draw, numbers: tuple[int, ...] = ALL) -> bytes:
    """A valid archive in which single fields of headers say something else, with a correct checksum."""
    raw = bytearray(valid(draw(st.sampled_from(numbers))))
    heads = [at for at in range(0, len(raw), BLOCK) if raw[at + 257 : at + 262] == b"ustar"]
    for _ in range(draw(st.integers(1, 3))):
        at = heads[draw(st.integers(0, len(heads) - 1))]
        first, value = draw(
            st.one_of(
                st.tuples(st.just(124), _size.map(lambda size: size or b"00000000007\0")),
                st.tuples(st.just(0), _name),
                st.tuples(st.just(156), _kind),
                st.tuples(st.just(345), _name),
            )
        )
        if first == 345 and raw[at + 257 : at + 263] != b"ustar\0":
            continue  # GNU keeps times there, which `tarfile` takes for a name
        raw[at + first : at + first + len(value)] = value
        raw[at : at + BLOCK] = sign(bytes(raw[at : at + BLOCK]))
    return bytes(raw)


@st.composite
def damaged(draw, numbers: tuple[int, ...] = ALL) -> bytes:
    """A valid archive with damage anywhere, in bytes or in whole blocks."""
    raw, donor = (valid(draw(st.sampled_from(numbers))) for _ in range(2))
    return damage(raw, draw(edits), donor, grain=draw(st.sampled_from((1, BLOCK))))


# Of PAX headers that lie every reader makes something else.
comparable = st.one_of(made(pax=False), resigned(NO_PAX), damaged(NO_PAX)).map(Raw)
archives = st.one_of(made(), resigned(), damaged()).map(Raw)

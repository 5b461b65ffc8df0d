"""The footer of a Parquet file, read and written as it is: fields of structs by their numbers.

Parquet's footer is in Thrift's compact protocol (https://github.com/apache/thrift, doc/specs); the numbers of
its fields are those of parquet.thrift (https://github.com/apache/parquet-format). Arrow reads and writes
footers, but cannot put one together for column chunks that are copied from other files.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from dprune_cli.core.errors import DataError

MAGIC = b"PAR1"
TAIL = 8

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 12
_INTEGERS = frozenset({_I16, _I32, _I64})

Struct = dict[int, "Value"]
"""Fields by number, ascending."""


@dataclass(frozen=True)
class Value:
    """A field: its type, and an integer, bytes, a `Struct`, a list of values, or None for a truth value.

    Attributes:
        kind: type number of the compact protocol.
        held: what it holds.
        items: type number of the items of a list.
    """

    kind: int
    held: Any
    items: int = 0


def integer(held: int) -> Value:
    """A 64-bit integer."""
    return Value(_I64, held)


def struct_value(held: Struct) -> Value:
    """A struct."""
    return Value(_STRUCT, held)


def structs(held: list[Struct]) -> Value:
    """A list of structs."""
    return Value(_LIST, held, _STRUCT)


def footer_length(tail: bytes) -> int:
    """Bytes of the footer, from the last `TAIL` bytes of a file; `ValueError` if it is no Parquet file."""
    if len(tail) != TAIL or tail[4:] != MAGIC:
        raise ValueError("no Parquet file")
    return int(struct.unpack("<I", tail[:4])[0])


def load_footer(raw: bytes) -> Struct:
    """The fields of a footer; `ValueError` if it is none."""
    try:
        return _Reader(raw).read_struct()
    except (IndexError, RecursionError, struct.error) as error:
        raise ValueError("no Parquet footer") from error


def dump_footer(footer: Struct) -> bytes:
    """A footer with what ends a Parquet file."""
    out = bytearray()
    _write_struct(out, footer)
    if len(out) >= 1 << 32:
        raise DataError("a Parquet file of that many row groups and columns cannot be written")
    return bytes(out) + struct.pack("<I", len(out)) + MAGIC


class _Reader:
    """Reads values one after another."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._place = raw, 0

    def read_struct(self) -> Struct:
        fields: Struct = {}
        number = 0
        while (head := self._byte()) != 0:
            kind = head & 15
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            fields[number] = self._value(kind)
        return fields

    def _value(self, kind: int) -> Value:
        if kind == _LIST:
            head = self._byte()
            items, count = head & 15, head >> 4
            count = self._varint() if count == 15 else count
            if count > len(self._raw):
                raise ValueError("a list longer than the footer")
            return Value(kind, [self._item(items) for _ in range(count)], items)
        return Value(kind, None if kind in (_TRUE, _FALSE) else self._item(kind))

    def _item(self, kind: int) -> Any:
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _STRUCT:
            return self.read_struct()
        if kind == _LIST:
            return self._value(kind)
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind == _DOUBLE:
            return self._bytes(8)
        raise ValueError(f"type {kind} has no place in a Parquet footer")

    def _byte(self) -> int:
        self._place += 1
        return self._raw[self._place - 1]

    def _bytes(self, count: int) -> bytes:
        self._place += count
        if self._place > len(self._raw):
            raise ValueError("the footer ends early")
        return self._raw[self._place - count : self._place]

    def _varint(self) -> int:
        result = shift = 0
        while True:
            byte = self._byte()
            result |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return result
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def _zigzag(self) -> int:
        raw = self._varint()
        return (raw >> 1) ^ -(raw & 1)


def _write_struct(out: bytearray, fields: Struct) -> None:
    last = 0
    for number, value in fields.items():
        if 0 < number - last <= 15:
            out.append((number - last) << 4 | value.kind)
        else:
            out.append(value.kind)
            _write_zigzag(out, number)
        _write_value(out, value)
        last = number
    out.append(0)


def _write_value(out: bytearray, value: Value) -> None:
    if value.kind == _LIST:
        count = len(value.held)
        out.append(min(count, 15) << 4 | value.items)
        if count >= 15:
            _write_varint(out, count)
        for item in value.held:
            _write_item(out, value.items, item)
    elif value.held is not None:
        _write_item(out, value.kind, value.held)


def _write_item(out: bytearray, kind: int, held: Any) -> None:
    if kind in _INTEGERS:
        _write_zigzag(out, held)
    elif kind == _BINARY:
        _write_varint(out, len(held))
        out += held
    elif kind == _STRUCT:
        _write_struct(out, held)
    elif kind == _LIST:
        _write_value(out, held)
    elif kind == _DOUBLE:
        out += held
    else:
        out.append(held)


def _write_zigzag(out: bytearray, number: int) -> None:
    _write_varint(out, (number << 1) ^ (number >> 63))


def _write_varint(out: bytearray, number: int) -> None:
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)

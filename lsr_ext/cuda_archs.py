"""The architectures that a CUDA library holds code for, read from its file: it need not be loadable here."""

from __future__ import annotations

import struct
from pathlib import Path

_FATBIN = struct.Struct("<IHHQ")  # magic, version, bytes of this header, bytes after it
_MAGIC = 0xBA55ED50
_ENTRY = struct.Struct("<HHIQIIHHI")  # kind, version, header, payload, compressed, options, minor, major, arch
_PTX, _CUBIN = 1, 2


def archs_in(library: Path) -> list[str]:
    """The architectures, such as ["9.0", "12.0", "12.0+PTX"].

    Raises:
        ValueError: where the file's tables of code are cut short.
    """
    content = library.read_bytes()
    found: set[tuple[int, bool]] = set()
    at = content.find(_MAGIC.to_bytes(4, "little"))
    while at >= 0:
        _, _, header, size = _FATBIN.unpack_from(content, at)
        at, end = at + header, at + header + size
        if end > len(content):
            raise ValueError(f"{library}: expected {size} bytes of CUDA code, the file ends before")
        while at < end:
            kind, _, entry_header, payload, *_, arch = _ENTRY.unpack_from(content, at)
            if kind in (_PTX, _CUBIN):
                found.add((arch, kind == _PTX))
            at += entry_header + payload
        at = content.find(_MAGIC.to_bytes(4, "little"), end)
    return [f"{arch // 10}.{arch % 10}" + ("+PTX" if ptx else "") for arch, ptx in sorted(found)]

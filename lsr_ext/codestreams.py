"""Read from JPEG and JPEG 2000 headers which colours a decoder returns; a TIFF's tags alone do not say it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import tifffile

_HEADER_BYTES = 2**16  # read to see which colours a tile holds
_JPEG_START, _J2K_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
_J2K_SIZE, _J2K_COMPONENT = struct.Struct(">HHIIIIIIIIH"), struct.Struct(">BBB")
_JP2_COLOURS = b"colr\x01"  # the box of colours, by number
_J2K_CODING_STYLE = 0xFF52
_J2K_END_OF_HEADER = (0xFF90, 0xFFD9)  # start of tile data, end of the codestream
_RGB, _YCBCR = 2, 6
_JPEG, _J2K = (6, 7, 33007), (33003, 33005, 34712)  # TIFF's numbers
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # markers that start a frame
_SCAN, _END = 0xDA, 0xD9


class J2kHeader(NamedTuple):
    """The header of a JPEG 2000 codestream.

    Attributes:
        width, height: size in pixels.
        components: number of components.
        subsampled: whether the second component is coarser than the first; only chroma is stored so.
        transformed: whether the decoder turns luma and chroma into RGB, because the encoder did the reverse.
        named: whether a JP2 file around the codestream names its colours, which the decoder then turns into RGB.
    """

    width: int
    height: int
    components: int
    subsampled: bool
    transformed: bool
    named: bool

    @classmethod
    def parse(cls, data: bytes) -> J2kHeader:
        """Read the header of a raw codestream, or of the first in a JP2 file.

        Raises:
            ValueError: not a JPEG 2000 codestream.
        """
        start = data.find(_J2K_START)
        size = start + 4
        if start < 0 or len(data) < size + _J2K_SIZE.size:
            raise ValueError(f"expected a JPEG 2000 codestream, got bytes {data[:4].hex()}")
        length, _, right, bottom, left, top, *_, components = _J2K_SIZE.unpack_from(data, size)
        if len(data) < size + length or length < _J2K_SIZE.size + 3 * components:
            raise ValueError(f"expected the sizes of {components} JPEG 2000 components, got {length} bytes")
        steps = [
            _J2K_COMPONENT.unpack_from(data, size + _J2K_SIZE.size + 3 * i)[1:] for i in range(min(components, 2))
        ]
        subsampled = components == 3 and steps[1] != steps[0]
        transformed, named = _transforms(data, size + length), data.find(_JP2_COLOURS, 0, start) >= 0
        return cls(right - left, bottom - top, components, subsampled, transformed, named)


def _transforms(data: bytes, place: int) -> bool:
    """Whether the coding style, one of the header's segments from `place` on, asks for a component transform."""
    while place + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, place)
        if marker == _J2K_CODING_STYLE and place + 9 <= len(data):
            return data[place + 8] != 0
        if marker in _J2K_END_OF_HEADER or length < 2:
            break
        place += 2 + length
    return False


class JpegHeader(NamedTuple):
    """The header of a JPEG stream.

    Attributes:
        width, height: size in pixels; 0 where the stream has no frame.
        holds_ycbcr: whether three components are YCbCr, by its markers and its subsampling; None: it does not say.
    """

    width: int
    height: int
    holds_ycbcr: bool | None

    @classmethod
    def parse(cls, data: bytes) -> JpegHeader:
        """Read the segments up to the first frame.

        Example:
            >>> JpegHeader.parse(bytes.fromhex("ffd8ffe000104a46494600010100000100010000")).holds_ycbcr
            True
        """
        place, marked = 2, None
        if data[:2] != _JPEG_START:
            return cls(0, 0, None)
        while place + 4 <= len(data) and data[place] == 0xFF:
            marker, (length,) = data[place + 1], struct.unpack_from(">H", data, place + 2)
            segment = data[place + 4 : place + 2 + length]
            if marker == 0xE0 and segment[:5] == b"JFIF\0":
                marked = True
            if marker == 0xEE and segment[:5] == b"Adobe" and len(segment) > 11 and marked is None:
                marked = segment[11] != 0
            if marker in _FRAMES and len(segment) > 5:
                height, width = struct.unpack_from(">HH", segment, 1)
                return cls(width, height, _frame_holds_ycbcr(segment) if marked is None else marked)
            if marker in (_SCAN, _END) or length < 2:
                break
            place += 2 + length
        return cls(0, 0, marked)


def correct_photometric(page: tifffile.TiffPage) -> None:
    """Tag a page of JPEG tiles as what its first tile says; the file of the page must be open.

    Bio-Formats and QuPath tag YCbCr as RGB, the colours after decoding.
    """
    if page.compression != _JPEG[1] or page.samplesperpixel != 3 or page.photometric not in (_RGB, _YCBCR):
        return
    place = next((i for i, size in enumerate(page.databytecounts) if size), None)
    if place is None:
        return
    page.parent.filehandle.seek(page.dataoffsets[place])
    data = page.parent.filehandle.read(min(page.databytecounts[place], _HEADER_BYTES))
    says = JpegHeader.parse(data).holds_ycbcr
    if says is not None:
        page.photometric = type(page.photometric)(_YCBCR if says else _RGB)


def _frame_holds_ycbcr(segment: bytes) -> bool | None:
    """By the components' names and sampling factors: red, green and blue are never sampled unequally."""
    if len(segment) < 15 or segment[5] != 3:
        return None
    names, sampling = segment[6:15:3], segment[7:15:3]
    if len(set(sampling)) > 1:
        return True
    return False if names == b"RGB" else None


def check_declared_size(data: bytes, compression: int, width: int, height: int) -> None:
    """Refuse a JPEG or JPEG 2000 stream that declares more pixels than its tile has, before it is decoded.

    Raises:
        ValueError: it does.
    """
    if compression in _JPEG:
        header: JpegHeader | J2kHeader = JpegHeader.parse(data)
    elif compression in _J2K:
        header = J2kHeader.parse(data)
    else:
        return
    if header.width > width or header.height > height:
        raise ValueError(f"expected a tile of {width} x {height} px, got {header.width} x {header.height} px")

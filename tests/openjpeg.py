"""Write JPEG 2000 with coarser chroma, which imagecodecs does not: by the OpenJPEG that Pillow brings."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL
import pytest

RAW, JP2 = 0, 2  # formats
UNSAID, SRGB, SYCC = 0, 1, 3  # colours that a JP2 names
_PARAMETER_BYTES = 2**16  # more than opj_cparameters_t


class _Plane(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("dx", "dy", "w", "h", "x0", "y0", "prec", "bpp", "sgnd")]


class _Component(ctypes.Structure):
    _fields_ = (
        *_Plane._fields_,
        ("resno_decoded", ctypes.c_uint32),
        ("factor", ctypes.c_uint32),
        ("data", ctypes.POINTER(ctypes.c_int32)),
        ("alpha", ctypes.c_uint16),
    )


class _Image(ctypes.Structure):
    _fields_ = (
        *[(name, ctypes.c_uint32) for name in ("x0", "y0", "x1", "y1", "numcomps")],
        ("color_space", ctypes.c_int),
        ("comps", ctypes.POINTER(_Component)),
    )


def _library() -> ctypes.CDLL:
    found = sorted((Path(PIL.__file__).parents[1] / "pillow.libs").glob("libopenjp2*"))
    if not found:
        pytest.skip("this Pillow brings no OpenJPEG as a library")
    library = ctypes.CDLL(str(found[0]))
    for name in ("opj_image_create", "opj_create_compress", "opj_stream_create_default_file_stream"):
        getattr(library, name).restype = ctypes.c_void_p
    return library


def encode(
    path: Path, pixels: np.ndarray, steps: tuple[int, int] = (1, 1), form: int = RAW, colours: int = UNSAID
) -> bytes:
    """Encode (H, W, 3) without loss, nor a transform of components; chroma at every `steps` (x, y) pixel."""
    library = _library()
    planes: Sequence[np.ndarray] = [
        pixels[..., 0],
        *(np.ascontiguousarray(pixels[:: steps[1], :: steps[0], i]) for i in (1, 2)),
    ]
    described = (_Plane * 3)(
        *[_Plane(*(steps if i else (1, 1)), p.shape[1], p.shape[0], 0, 0, 8, 8, 0) for i, p in enumerate(planes)]
    )
    image = ctypes.cast(library.opj_image_create(3, described, colours), ctypes.POINTER(_Image))
    image[0].x1, image[0].y1 = pixels.shape[1], pixels.shape[0]
    for i, plane in enumerate(planes):
        values = np.ascontiguousarray(plane, np.int32)
        ctypes.memmove(image[0].comps[i].data, values.ctypes.data, values.nbytes)
    parameters = ctypes.create_string_buffer(_PARAMETER_BYTES)
    library.opj_set_default_encoder_parameters(parameters)
    codec = ctypes.c_void_p(library.opj_create_compress(form))
    assert library.opj_setup_encoder(codec, parameters, image)
    stream = ctypes.c_void_p(library.opj_stream_create_default_file_stream(str(path).encode(), 0))
    assert library.opj_start_compress(codec, image, stream)
    assert library.opj_encode(codec, stream) and library.opj_end_compress(codec, stream)
    library.opj_stream_destroy(stream)
    return path.read_bytes()

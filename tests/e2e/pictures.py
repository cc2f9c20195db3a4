"""Picture files for the tests: whole ones, and ones that a server has to refuse."""

import io
import struct
import zlib

import numpy
from PIL import Image


def save(image, kind):
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def plain(kind="PNG", size=(64, 48), colour=(200, 30, 30)):
    return save(Image.new("RGB", size, colour), kind)


def noise(kind="PNG", size=(64, 48)):
    """Does not compress: about three bytes a pixel as PNG."""
    pixels = numpy.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), numpy.uint8)
    return save(Image.fromarray(pixels), kind)


def cut(kind):
    """The first half of a whole file."""
    whole = noise(kind)
    return whole[: len(whole) // 2]


def png_that_claims(width, height):
    """A sound PNG header with a size that no pixel data stands behind."""

    def chunk(name, data):
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks

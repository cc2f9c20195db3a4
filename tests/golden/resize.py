#!/usr/bin/env python3
"""Writes resize.inc: checksums of what Pillow's bicubic filter makes of a picture by formula."""

import pathlib
import zlib

import numpy
from PIL import Image

# Width and height before and after.
CASES = [
    (1, 1, 5, 3), (2, 3, 9, 8), (7, 5, 7, 5), (7, 5, 7, 11), (7, 5, 13, 5), (64, 48, 20, 20),
    (65, 47, 21, 19), (30, 200, 28, 20), (30, 200, 40, 40), (200, 30, 20, 28), (1, 300, 4, 7),
    (300, 1, 7, 4), (255, 257, 256, 256), (257, 255, 256, 256), (333, 222, 112, 112),
    (100, 100, 1, 1), (40, 40, 160, 150),
]


def formula_picture(width, height):
    """Byte i is the top byte of i * 2654435761 (32 bits); its last third is 0 or 255."""
    index = numpy.arange(width * height * 3, dtype=numpy.uint64)
    value = ((index * 2654435761) & 0xFFFFFFFF) >> 24
    last_third = index >= index.size - index.size // 3
    value[last_third] = (value[last_third] >> 7) * 255
    return Image.fromarray(value.astype(numpy.uint8).reshape(height, width, 3))


def main():
    lines = ["// Made by resize.py with Pillow 13. Not to be edited.",
             "// Width and height before and after, CRC-32 of the pixels."]
    for width, height, new_width, new_height in CASES:
        resized = formula_picture(width, height).resize((new_width, new_height), Image.BICUBIC)
        checksum = zlib.crc32(resized.tobytes())
        lines.append(f"{{{width}, {height}, {new_width}, {new_height}, 0x{checksum:08x}}},")
    pathlib.Path(__file__).with_suffix(".inc").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

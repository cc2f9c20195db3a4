#!/usr/bin/env python3
"""Compares glimpse-inspect's resize with Pillow's bicubic filter: every byte must be equal.

    tests/preprocess/resize_parity.py --inspect=build/bin/glimpse-inspect

Prints one line for each pair of sizes; exits 1 if any byte differs.
"""

import argparse
import io
import pathlib
import subprocess
import sys
import tempfile

import numpy
from PIL import Image

MODEL_SIZE = 1120
# width, height: single pixels, lines, odd sizes, extreme shapes, equal sides, photographs.
SIZES = [
    (1, 1), (2, 1), (1, 2), (1, 777), (777, 1), (3, 5), (7, 7), (16, 16), (33, 17), (224, 224),
    (223, 1120), (1120, 223), (1119, 1121), (1121, 1119), (1120, 1120), (1120, 2240),
    (2240, 1120), (2241, 1119), (640, 480), (1, 16384), (16384, 1), (16384, 9), (1999, 3001),
    (4000, 3000), (6000, 4000),
]
SMALL_TARGETS = [1, 2, 7, 56, 112, 223]


def make_picture(width, height, seed):
    """Noise with hard edges in it: every weight matters, and sums clip at both ends.

    The noise repeats with periods that no filter's step divides, so that the file of the largest
    picture stays below the limit of bytes.
    """
    random = numpy.random.default_rng(seed)
    noise = random.integers(0, 256, (min(height, 641), min(width, 997), 3), dtype=numpy.uint8)
    pixels = noise[numpy.arange(height) % len(noise)][:, numpy.arange(width) % len(noise[0])]
    pixels[height // 3 : height // 2, :, :] = 255
    pixels[:, width // 3 : width // 2, :] = 0
    return Image.fromarray(pixels)


def resize_with_glimpse(inspect, path, size):
    command = [inspect, "image", str(path), f"--size={size}"]
    done = subprocess.run(command, capture_output=True, check=True)
    return Image.open(io.BytesIO(done.stdout))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--inspect", default="build/bin/glimpse-inspect")
    options = parser.parse_args()
    failures = compared = 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "picture.png"
        for number, (width, height) in enumerate(SIZES):
            picture = make_picture(width, height, number)
            picture.save(path, compress_level=6 if width > 997 else 0)
            for size in [MODEL_SIZE, SMALL_TARGETS[number % len(SMALL_TARGETS)]]:
                expected = numpy.asarray(picture.resize((size, size), Image.BICUBIC))
                actual = numpy.asarray(resize_with_glimpse(options.inspect, path, size))
                different = int((expected != actual).sum())
                compared += 1
                failures += different > 0
                print(f"{width}x{height} -> {size}x{size}: {different} bytes differ")
    print(f"{compared} pairs of sizes compared, {failures} differ")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

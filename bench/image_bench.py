#!/usr/bin/env python3
"""Times decode + resize of a 12-megapixel JPEG on one thread: glimpse-inspect against Pillow.

    bench/image_bench.py --inspect=build/bin/glimpse-inspect

Both get the same file in the same run, in turns, so that a busy machine slows both. Prints the
medians and the ratio (below 1: ours is faster); with --max_ratio, exits 1 above it.
"""

import argparse
import io
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy
import PIL
from PIL import Image

WIDTH, HEIGHT, MODEL_SIZE = 4000, 3000, 1120
ROUNDS, RUNS_PER_ROUND = 5, 4


def photo_like_jpeg():
    """Gradients, waves of several lengths and sensor noise: about 2.4 MB at quality 85."""
    random = numpy.random.default_rng(0)
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH].astype(numpy.float32)
    waves = [numpy.sin(x / 97 + y / 53), numpy.sin(x / 31 - y / 71),
             numpy.cos(x / 201) * numpy.sin(y / 40)]
    pixels = 128 + 60 * numpy.stack(waves, -1) + random.normal(0, 8, (HEIGHT, WIDTH, 3))
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8)).save(out, "JPEG", quality=85)
    return out.getvalue()


def time_glimpse(inspect, path):
    """Seconds of decode and of resize, one entry a run."""
    command = [inspect, "image", str(path), f"--size={MODEL_SIZE}", f"--repeat={RUNS_PER_ROUND}"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    times = json.loads(done.stderr)
    return times["decode_seconds"], times["resize_seconds"]


def time_pillow(data):
    decode_seconds, resize_seconds = [], []
    for _ in range(RUNS_PER_ROUND):
        start = time.perf_counter()
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        middle = time.perf_counter()
        picture.resize((MODEL_SIZE, MODEL_SIZE), Image.BICUBIC)
        decode_seconds.append(middle - start)
        resize_seconds.append(time.perf_counter() - middle)
    return decode_seconds, resize_seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--inspect", default="build/bin/glimpse-inspect")
    parser.add_argument("--max_ratio", type=float)
    options = parser.parse_args()
    data = photo_like_jpeg()
    seconds = {"glimpse": ([], []), "Pillow": ([], [])}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "picture.jpg"
        path.write_bytes(data)
        for _ in range(ROUNDS):
            for name, times in [("glimpse", time_glimpse(options.inspect, path)),
                                ("Pillow", time_pillow(data))]:
                for total, part in zip(seconds[name], times):
                    total.extend(part)
    print(f"{WIDTH}x{HEIGHT} JPEG of {len(data)} bytes to {MODEL_SIZE}x{MODEL_SIZE}, "
          f"median of {ROUNDS * RUNS_PER_ROUND} runs, Pillow {PIL.__version__}")
    totals = {}
    for name, (decode, resize) in seconds.items():
        totals[name] = statistics.median(map(sum, zip(decode, resize)))
        print(f"{name}: decode {1e3 * statistics.median(decode):.1f} ms, "
              f"resize {1e3 * statistics.median(resize):.1f} ms, both {1e3 * totals[name]:.1f} ms")
    ratio = totals["glimpse"] / totals["Pillow"]
    print(f"ratio {ratio:.2f}")
    return 1 if options.max_ratio is not None and ratio > options.max_ratio else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Compares glimpse-inspect's decoded pictures with Pillow's, for every kind of file we accept.

    tests/preprocess/decode_parity.py --inspect=build/bin/glimpse-inspect

The reference is ImageOps.exif_transpose(Image.open(file)).convert("RGB"). Lossless kinds must be
equal; lossy ones may differ by what two versions of their decoder differ by, CMYK by one rounding
more. Prints the greatest and the mean difference for each kind; exits 1 if any is above its bound.
"""

import argparse
import io
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy
from PIL import Image, ImageOps

WIDTH, HEIGHT = 203, 131  # odd on purpose: partial blocks on both sides
LOSSY_BOUND = 3
CMYK_BOUND = 4


def make_pixels():
    """[HEIGHT, WIDTH, 3]: smooth colour, hard edges and some noise."""
    y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH].astype(numpy.float32)
    waves = 127 + 120 * numpy.sin(x * y / 900)
    pixels = numpy.stack([x * 255 / WIDTH, y * 255 / HEIGHT, waves], -1)
    pixels[20:60, 30:90] = [250, 10, 30]
    pixels += numpy.random.default_rng(1).normal(0, 6, pixels.shape)
    return pixels.clip(0, 255).astype(numpy.uint8)


def encode(picture, **options):
    out = io.BytesIO()
    picture.save(out, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(samples, colour_type):
    """A 16-bit PNG of samples [height, width, channels]; Pillow writes only grey ones."""
    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def interlaced_png(pixels):
    """An Adam7 PNG; Pillow reads but does not write them."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2)]
    rows = b""
    for x, y, dx, dy in passes:
        part = pixels[y::dy, x::dx]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def jpeg_kinds(rgb):
    for name, subsampling in [("4:4:4", 0), ("4:2:2", 1), ("4:2:0", 2)]:
        data = encode(rgb, format="JPEG", quality=88, subsampling=subsampling)
        yield f"jpeg {name}", data, LOSSY_BOUND
    yield "jpeg progressive", encode(rgb, format="JPEG", progressive=True), LOSSY_BOUND
    yield "jpeg restarts", encode(rgb, format="JPEG", restart_marker_blocks=5), LOSSY_BOUND
    yield "jpeg grey", encode(rgb.convert("L"), format="JPEG"), LOSSY_BOUND
    yield "jpeg stored as RGB", encode(rgb, format="JPEG", keep_rgb=True), LOSSY_BOUND
    yield "jpeg CMYK", encode(rgb.convert("CMYK"), format="JPEG", quality=95), CMYK_BOUND
    yield "jpeg YCCK", as_ycck(rgb), CMYK_BOUND
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(rgb, format="JPEG", exif=exif)
        yield f"jpeg orientation {orientation}", data, LOSSY_BOUND


def as_ycck(rgb):
    """A CMYK JPEG whose Adobe segment says YCCK: the first three components are read as YCbCr."""
    data = bytearray(encode(rgb.convert("CMYK"), format="JPEG", quality=95))
    adobe = data.index(b"Adobe")
    data[adobe + 11] = 2
    return bytes(data)


def png_kinds(rgb, pixels):
    alpha = Image.fromarray(pixels[:, :, 0])
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    grey = rgb.convert("L")
    palette = rgb.convert("P", palette=Image.ADAPTIVE, colors=200)
    yield "png RGB", encode(rgb, format="PNG"), 0
    yield "png interlaced", interlaced_png(pixels), 0
    yield "png RGBA", encode(rgba, format="PNG"), 0
    yield "png transparent colour", encode(rgb, format="PNG", transparency=(250, 10, 30)), 0
    yield "png grey", encode(grey, format="PNG"), 0
    yield "png grey with alpha", encode(Image.merge("LA", [grey, alpha]), format="PNG"), 0
    yield "png 1 bit", encode(grey.convert("1"), format="PNG"), 0
    yield "png palette", encode(palette, format="PNG"), 0
    yield "png palette with alpha", encode(palette, format="PNG", transparency=bytes(range(200))), 0
    for bits in (1, 2, 4):
        few = rgb.convert("P", palette=Image.ADAPTIVE, colors=2**bits)
        yield f"png palette {bits} bit", encode(few, format="PNG", bits=bits), 0
    wide = pixels.astype(numpy.uint32) * 251 + 77
    yield "png 16-bit RGB", png16(wide, 2), 0
    yield "png 16-bit RGBA", png16(numpy.dstack([wide, wide[:, :, :1]]), 6), 0
    yield "png 16-bit grey", png16(wide[:, :, :1], 0), 0
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "png orientation 6", encode(rgb, format="PNG", exif=exif), 0
    yield "apng", encode(rgb, format="PNG", save_all=True, append_images=[rgb.rotate(180)]), 0


def webp_kinds(rgb, pixels):
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(pixels[:, :, 0]))
    exif = Image.Exif()
    exif[0x0112] = 8
    yield "webp lossy", encode(rgb, format="WEBP", quality=85), LOSSY_BOUND
    yield "webp lossy with alpha", encode(rgba, format="WEBP", quality=85), LOSSY_BOUND
    yield "webp lossless", encode(rgb, format="WEBP", lossless=True), 0
    yield "webp lossless with alpha", encode(rgba, format="WEBP", lossless=True, exact=True), 0
    yield "webp orientation 8", encode(rgb, format="WEBP", lossless=True, exif=exif), 0


def reference(data):
    picture = Image.open(io.BytesIO(data))
    if picture.mode.startswith("I;16"):
        # Pillow's own conversion clips these at 255, which no viewer does: we keep the high byte.
        grey = (numpy.asarray(picture) >> 8).astype(numpy.uint8)
        return numpy.repeat(grey[:, :, None], 3, 2)
    return numpy.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--inspect", default="build/bin/glimpse-inspect")
    options = parser.parse_args()
    pixels = make_pixels()
    rgb = Image.fromarray(pixels)
    kinds = [*jpeg_kinds(rgb), *png_kinds(rgb, pixels), *webp_kinds(rgb, pixels)]
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "picture"
        for name, data, bound in kinds:
            path.write_bytes(data)
            command = [options.inspect, "image", str(path), "--size=native"]
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode != 0:
                failures += 1
                print(f"{name}: refused: {done.stderr.decode().strip()}")
                continue
            actual = numpy.asarray(Image.open(io.BytesIO(done.stdout)))
            expected = reference(data)
            if actual.shape != expected.shape:
                failures += 1
                print(f"{name}: size {actual.shape}, expected {expected.shape}")
                continue
            difference = numpy.abs(actual.astype(int) - expected)
            failures += int(difference.max()) > bound
            print(f"{name}: max {difference.max()}, mean {difference.mean():.4f}, bound {bound}")
    print(f"{len(kinds)} kinds compared, {failures} out of bounds")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

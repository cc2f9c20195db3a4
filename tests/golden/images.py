#!/usr/bin/env python3
"""Writes images.inc: small picture files for the tests, made by Pillow, as C++ byte arrays.

Each shows four flat quarters, 12 x 8 pixels each: red and green above, blue and white below.
"""

import io
import pathlib

from PIL import Image

WIDTH, HEIGHT = 24, 16
RED, GREEN, BLUE, WHITE = (220, 20, 30), (20, 200, 40), (30, 40, 210), (250, 250, 250)


def quarters():
    picture = Image.new("RGB", (WIDTH, HEIGHT), WHITE)
    picture.paste(RED, (0, 0, WIDTH // 2, HEIGHT // 2))
    picture.paste(GREEN, (WIDTH // 2, 0, WIDTH, HEIGHT // 2))
    picture.paste(BLUE, (0, HEIGHT // 2, WIDTH // 2, HEIGHT))
    return picture


def with_alpha(picture):
    """Transparent on the left: what blending would change and dropping does not."""
    alpha = Image.new("L", picture.size, 255)
    alpha.paste(0, (0, 0, WIDTH // 2, HEIGHT))
    picture = picture.copy()
    picture.putalpha(alpha)
    return picture


def main():
    rgb = quarters()
    rgba = with_alpha(rgb)
    jpeg = {"format": "JPEG", "quality": 90, "optimize": True}
    files = {
        "kJpeg": (rgb, {**jpeg, "subsampling": 0}),
        "kProgressiveJpeg": (rgb, {**jpeg, "progressive": True}),
        "kCmykJpeg": (rgb.convert("CMYK"), jpeg),
        "kPng": (rgb, {"format": "PNG"}),
        "kAlphaPng": (rgba, {"format": "PNG"}),
        "kPalettePng": (rgb.convert("P", palette=Image.ADAPTIVE), {"format": "PNG"}),
        "kLossyWebp": (rgb, {"format": "WEBP", "quality": 95}),
        "kAlphaWebp": (rgba, {"format": "WEBP", "quality": 95, "exact": True}),
        "kLosslessWebp": (rgba, {"format": "WEBP", "lossless": True, "exact": True}),
    }
    lines = ["// Made by images.py. Not to be edited."]
    for name, (picture, options) in files.items():
        out = io.BytesIO()
        picture.save(out, **options)
        data = out.getvalue()
        lines += ["", f"constexpr uint8_t {name}[{len(data)}] = {{"]
        for at in range(0, len(data), 16):
            lines.append("    " + " ".join(f"0x{byte:02x}," for byte in data[at : at + 16]))
        lines.append("};")
    pathlib.Path(__file__).with_suffix(".inc").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

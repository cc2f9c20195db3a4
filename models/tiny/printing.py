"""Printed words and numbers in many fonts."""

import functools
import glob
import math
import os

from PIL import Image, ImageDraw, ImageFont

import backgrounds


def contrast(a, b):
    """A rough difference that the eye agrees with."""
    luma = abs(sum(w * (x - y) for w, x, y in zip((0.3, 0.6, 0.1), a, b)))
    return luma + 0.35 * sum(abs(x - y) for x, y in zip(a, b)) / 3


@functools.lru_cache(maxsize=None)
def font_files():
    """matplotlib's fonts where it is installed, and those of GLIMPSE_FONTS; None: Pillow's own."""
    files = []
    try:
        import matplotlib

        folder = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
        for pattern in (
            "DejaVuSans*",
            "DejaVuSerif*",
            "STIXGeneral*",
            "cmr10*",
            "cmss10*",
            "cmtt10*",
        ):
            files += sorted(glob.glob(os.path.join(folder, pattern + ".ttf")))
        files = [f for f in files if "Display" not in f]
    except ImportError:
        pass
    extra = os.environ.get("GLIMPSE_FONTS", "")
    files += sorted(glob.glob(os.path.join(extra, "*.ttf"))) if extra else []
    return tuple(files + [None] * max(1, len(files) // 8))


@functools.lru_cache(maxsize=512)
def font(file, size):
    return ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)


def draw_text(image, item, rng):
    """Writes the text and leaves in item.points the boxes of its letters, as picture fractions."""
    file = rng.choice(font_files())
    want = 2 * item.radius * image.width
    size = int(max(8, min(want / max(1, len(item.text)) * 1.6, image.height * 0.8)))
    face = font(file, 8 * (size // 8 + 1))
    size_now = face.getlength(item.text)
    if size_now > want:
        face = font(file, max(10, int(face.size * want / size_now)))
    stroke = 1 if rng.random() < 0.08 and face.size > 26 else 0
    box = face.getbbox(item.text, stroke_width=stroke)
    w, h, pad = box[2] - box[0], box[3] - box[1], 4
    mask = Image.new("L", (int(w) + 2 * pad, int(h) + 2 * pad))
    at = (pad - box[0], pad - box[1])
    ImageDraw.Draw(mask).text(at, item.text, fill=255, font=face, stroke_width=stroke)
    turn = rng.uniform(-12, 12) if rng.random() < 0.3 else 0
    if turn:
        mask = mask.rotate(turn, Image.BICUBIC, expand=True)
    left = int(item.x * image.width - mask.width / 2)
    top = int(item.y * image.height - mask.height / 2)
    left = max(0, min(left, image.width - mask.width))
    top = max(0, min(top, image.height - mask.height))
    if rng.random() < 0.12:
        panel(image, item, rng, (left - 6, top - 6, left + mask.width + 6, top + mask.height + 6))
    image.paste(item.rgb, (left, top), mask)
    item.x, item.y = (left + mask.width / 2) / image.width, (top + mask.height / 2) / image.height
    item.points = letter_boxes(item.text, face, mask.size, (left, top), turn, image.size)


def panel(image, item, rng, box):
    """A sign behind the text."""
    for _ in range(20):
        rgb = rng.choice(((255, 255, 255), (0, 0, 0), backgrounds.soft_colour(rng)))
        if contrast(rgb, item.rgb) > 60:
            ImageDraw.Draw(image).rectangle(box, fill=rgb)
            return


def letter_boxes(text, face, size, corner, turn, picture):
    """(x0, y0, x1, y1) of each letter; a turned text is followed only by its middle line."""
    ends = [face.getlength(text[:i]) for i in range(len(text) + 1)]
    total = max(1.0, ends[-1])
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    half = (size[1] - abs(s) * total) / 2 * 0.9
    mid_x, mid_y = corner[0] + size[0] / 2, corner[1] + size[1] / 2
    out = []
    for a, b in zip(ends, ends[1:]):
        u = (a + b) / 2 - total / 2
        x, y, w = mid_x + c * u, mid_y - s * u, (b - a) / 2
        out.append(
            (
                (x - w) / picture[0],
                (y - half) / picture[1],
                (x + w) / picture[0],
                (y + half) / picture[1],
            )
        )
    return out

"""Grounds for the scenes: plain, noisy and photo-like pictures, made cheaply.

All of them take a random.Random and return a Pillow RGB image; the detail comes from small arrays
that Pillow enlarges, and from a few noise sheets drawn once a process.
"""

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

PLAIN = {
    "white": [(255, 255, 255), (250, 250, 250), (245, 245, 240)],
    "black": [(0, 0, 0), (12, 12, 12), (25, 25, 28)],
    "grey": [(128, 128, 128), (192, 192, 192), (200, 200, 205), (105, 105, 110)],
    "blue": [(30, 80, 200), (0, 0, 255), (65, 105, 225)],
    "green": [(0, 128, 0), (34, 139, 34), (60, 180, 90)],
    "red": [(200, 20, 20), (255, 0, 0)],
    "yellow": [(255, 230, 40), (255, 255, 0)],
    "pink": [(255, 182, 193), (255, 105, 180)],
    "orange": [(255, 165, 0), (255, 140, 0)],
    "purple": [(128, 0, 128), (120, 60, 180)],
}
_noise = {}


def noise_sheet(kind):
    """A [1024, 1024, 3] int16 sheet, the same in every run: fine, coarse or grey noise."""
    if kind not in _noise:
        rng = np.random.default_rng(len(_noise) + 7)
        if kind == "coarse":
            small = rng.normal(0, 60, (128, 128, 3)).clip(-127, 127) + 128
            image = Image.fromarray(small.astype(np.uint8)).resize((1024, 1024), Image.BICUBIC)
            sheet = np.asarray(image).astype(np.int16) - 128
        else:
            sheet = rng.normal(0, 40, (1024, 1024, 1 if kind == "grey" else 3))
            sheet = np.broadcast_to(sheet, (1024, 1024, 3)).astype(np.int16)
        _noise[kind] = np.ascontiguousarray(sheet)
    return _noise[kind]


def add_noise(image, rng, strength):
    width, height = image.size
    sheet = noise_sheet(rng.choice(("fine", "coarse", "grey")))
    x, y = rng.randrange(1025 - width), rng.randrange(1025 - height)
    noise = sheet[y : y + height, x : x + width] * int(strength * 64) // 64
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def any_colour(rng, low=0, high=255):
    return tuple(rng.randint(low, high) for _ in range(3))


def soft_colour(rng):
    """Rather pale or rather dull, as walls, tables and skies are."""
    h, s, v = rng.random(), rng.uniform(0, 0.45), rng.uniform(0.25, 1)
    return tuple(int(255 * x) for x in colorsys.hsv_to_rgb(h, s, v))


def plain(rng, width, height):
    name = rng.choice(("white", "white", "white", "white", "black", "grey", *PLAIN))
    return Image.new("RGB", (width, height), rng.choice(PLAIN[name])), name


def soft(rng, width, height):
    return Image.new("RGB", (width, height), soft_colour(rng))


def noisy(rng, width, height):
    return add_noise(soft(rng, width, height), rng, rng.uniform(0.2, 1.0))


def gradient(rng, width, height):
    """Two or four corner colours, enlarged."""
    a, b = soft_colour(rng), soft_colour(rng)
    corners = rng.choice(((a, a, b, b), (a, b, a, b), (a, b, b, soft_colour(rng))))
    small = Image.new("RGB", (2, 2))
    small.putdata(corners)
    return small.resize((width, height), Image.BILINEAR)


def blobs(rng, width, height):
    """Blurred spots of any colour: what is out of focus in a photograph."""
    small = Image.new("RGB", (48, 48), soft_colour(rng))
    draw = ImageDraw.Draw(small)
    for _ in range(rng.randint(3, 12)):
        x, y, r = rng.uniform(0, 48), rng.uniform(0, 48), rng.uniform(3, 14)
        colour = soft_colour(rng) if rng.random() < 0.8 else any_colour(rng)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    small = small.filter(ImageFilter.GaussianBlur(rng.uniform(1.5, 5)))
    return small.resize((width, height), Image.BICUBIC)


def landscape(rng, width, height):
    """A sky, a ground and hills, with some grain."""
    sky = [int(c) for c in np.array((150, 190, 230)) + rng.randint(-40, 25)]
    image = gradient(rng, width, height) if rng.random() < 0.3 else None
    if image is None:
        small = Image.new("RGB", (1, 2))
        small.putdata((tuple(sky), tuple(min(255, c + 40) for c in sky)))
        image = small.resize((width, height), Image.BILINEAR)
    draw = ImageDraw.Draw(image)
    for step in range(rng.randint(1, 3)):
        base = height * (0.5 + 0.17 * step)
        knots = [base + rng.uniform(-0.12, 0.12) * height for _ in range(6)]
        line = [(width * i / 5, y) for i, y in enumerate(knots)]
        ground = (rng.randint(60, 140), rng.randint(90, 150), rng.randint(40, 90))
        draw.polygon([(0, height), *line, (width, height)], fill=ground)
    return add_noise(image, rng, rng.uniform(0.05, 0.4))


def texture(rng, width, height):
    """Stripes, checks or cloth in two near colours."""
    a = np.array(soft_colour(rng))
    b = (a + rng.choice((-1, 1)) * rng.randint(12, 45)).clip(0, 255)
    step = rng.randint(6, 40)
    y, x = np.ogrid[0:height, 0:width]
    grid = {
        "stripes": (x + y * 0) // step % 2,
        "slanted": (x + y) // step % 2,
        "checks": (x // step + y // step) % 2,
    }[rng.choice(("stripes", "slanted", "checks"))]
    array = np.where(grid[..., None].astype(bool), a, b).astype(np.uint8)
    image = Image.fromarray(array)
    return add_noise(image, rng, rng.uniform(0.05, 0.5)) if rng.random() < 0.5 else image


def vignette(image, rng):
    """Darkens the corners, or one side as a shadow does."""
    size = image.size
    y, x = np.mgrid[0:16, 0:16] / 15.0 - 0.5
    if rng.random() < 0.5:
        fall = 1 - rng.uniform(0.2, 0.6) * (x * x + y * y) * 1.6
    else:
        fall = 1 - rng.uniform(0.1, 0.35) * (0.5 + x * rng.choice((-1, 1)))
    mask = Image.fromarray((255 * fall.clip(0, 1)).astype(np.uint8)).resize(size, Image.BILINEAR)
    return Image.composite(image, Image.new("RGB", size), mask)


def ground(rng, width, height):
    """Returns (image, name of its plain colour or None)."""
    if rng.random() < 0.42:
        return plain(rng, width, height)
    maker = rng.choice((soft, noisy, gradient, gradient, blobs, blobs, landscape, texture))
    return maker(rng, width, height), None

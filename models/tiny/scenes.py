"""Draws scenes: coloured shapes, and printed words and numbers, on grounds of several kinds.

scene(rng) decides what is in the picture and where, draw(scene, rng) makes the picture. Everything
follows from the random.Random it is given. Positions and sizes are fractions of the picture.
"""

import colorsys
import dataclasses
import io
import math

from PIL import Image, ImageDraw

import backgrounds
from outlines import outline, turned
from printing import contrast, draw_text

SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "cross", "moon")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black", "white")
WORDS = (
    "STOP GO OPEN CLOSED EXIT ENTER HELLO HI BYE YES NO OK SALE FREE HOT COLD WET DRY UP DOWN LEFT "
    "RIGHT PUSH PULL ON OFF TAXI BUS TRAIN CAR CAFE PIZZA BREAD MILK TEA COFFEE WATER SHOP HOTEL "
    "BANK PARK SCHOOL HOME HOUSE ROAD CAT DOG BIRD FISH HORSE LOVE PEACE HAPPY SUN MOON STAR RAIN "
    "SNOW FIRE HELP DANGER WARNING WELCOME THANKS NEW OLD BIG SMALL FAST SLOW GOOD BAD BOOK GAME "
    "MUSIC TIME DAY NIGHT WORLD APPLE LEMON START END MENU PHOTO"
).split()
CHARS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Hue in degrees, saturation and value: the shades that everyone gives the name.
SHADES = {
    "red": [(-8, 7, 0.8, 1, 0.68, 1)],
    "orange": [(22, 39, 0.85, 1, 0.92, 1)],
    "yellow": [(50, 62, 0.75, 1, 0.9, 1)],
    "green": [(95, 150, 0.5, 1, 0.4, 0.95), (118, 122, 1, 1, 0.4, 1)],
    "blue": [(208, 242, 0.6, 1, 0.55, 1), (238, 241, 1, 1, 0.6, 1)],
    "purple": [(268, 292, 0.5, 1, 0.45, 0.9), (290, 301, 0.7, 1, 0.4, 0.65)],
    "pink": [(325, 350, 0.25, 0.6, 0.95, 1), (325, 334, 0.6, 0.9, 0.97, 1)],
    "black": [(0, 360, 0, 0.3, 0, 0.13)],
    "white": [(0, 360, 0, 0.03, 0.95, 1)],
}


@dataclasses.dataclass
class Item:
    """A shape (text is empty) or a printed text (shape is empty)."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float  # half the extent, as a fraction of the shorter side
    rgb: tuple = ()
    points: list = None  # outline around (0, 0), radius 1
    text: str = ""

    @property
    def area(self):
        p = self.points
        twice = sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(p, p[1:] + p[:1]))
        return abs(twice) / 2 * self.radius**2


@dataclasses.dataclass
class Scene:
    width: int
    height: int
    shapes: list
    text: Item = None
    ground: str = None  # the name of a plain ground's colour


def shade(colour, rng):
    h0, h1, s0, s1, v0, v1 = rng.choice(SHADES[colour])
    hsv = (rng.uniform(h0, h1) / 360 % 1, rng.uniform(s0, s1), rng.uniform(v0, v1))
    return tuple(int(round(255 * c)) for c in colorsys.hsv_to_rgb(*hsv))


# --- What is where --------------------------------------------------------------------------


def new_shape(rng, shape=None, colour=None):
    shape, colour = shape or rng.choice(SHAPES), colour or rng.choice(COLOURS)
    points, turn = outline(shape, rng)
    return Item(shape, colour, 0, 0, 0, points=turned(points, turn))


def random_size(rng):
    if rng.random() < 0.35:
        side = rng.choice((224, 240, 256, 300, 320, 400, 448, 480, 512, 600))
        return side, side
    long = rng.randint(170, 480) if rng.random() < 0.85 else rng.randint(480, 900)
    ratio = rng.choice((1, 1.25, 4 / 3, 1.5, 16 / 9, rng.uniform(1, 2)))
    sizes = (long, max(160, int(long / ratio)))
    return sizes if rng.random() < 0.7 else sizes[::-1]


def choose_shapes(rng):
    """What is in the picture, before anything has a place."""
    kind = rng.random()
    if kind < 0.24:
        return [new_shape(rng)]
    if kind < 0.42:
        a, b = rng.sample(SHAPES, 2)
        return [new_shape(rng, a), new_shape(rng, b)]
    if kind < 0.66:
        return [new_shape(rng) for _ in range(rng.choice((2, 3, 3, 4, 4, 5, 6)))]
    shape = rng.choice(SHAPES)
    colour = rng.choice(COLOURS) if rng.random() < 0.6 else None
    out = [new_shape(rng, shape, colour) for _ in range(rng.choice((1, 2, 3, 3, 4, 4, 5, 5, 6)))]
    if rng.random() < 0.55:  # a second group
        other = rng.choice([s for s in SHAPES if s != shape])
        colour = rng.choice(COLOURS) if rng.random() < 0.6 else None
        room = max(1, 7 - len(out))
        out += [new_shape(rng, other, colour) for _ in range(rng.randint(1, min(4, room)))]
    return out


def place_on_grid(items, rng):
    """Equal sizes in rows, as people often draw them."""
    count = len(items)
    columns = count if count <= 4 and rng.random() < 0.6 else math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    if rng.random() < 0.2:
        columns, rows = rows, columns
    cells = [((c + 0.5) / columns, (r + 0.5) / rows) for r in range(rows) for c in range(columns)]
    if rng.random() < 0.3:
        rng.shuffle(cells)
    radius = min(0.4 / max(rows, columns), 0.22) * rng.uniform(0.7, 1)
    for item, (x, y) in zip(items, cells):
        item.x, item.y, item.radius = x, y, radius
    return True


def place_freely(items, rng, scene, taken):
    """Sizes and places at random, without overlaps; False when no room was found."""
    short = min(scene.width, scene.height)
    most = {1: 0.42, 2: 0.24, 3: 0.2}.get(len(items), 0.16)
    least = 0.055 * max(scene.width, scene.height) / short
    boxes = list(taken)
    equal = rng.uniform(least, max(least, most)) if rng.random() < 0.25 else None
    for item in sorted(items, key=lambda _: rng.random()):
        for attempt in range(30):
            radius = equal or max(least, rng.uniform(least, most) * (1 - attempt / 60))
            rx, ry = radius * short / scene.width, radius * short / scene.height
            if rx > 0.47 or ry > 0.47:
                continue
            x, y = (rng.uniform(1.06 * r, 1 - 1.06 * r) for r in (rx, ry))
            if not any(abs(x - b[0]) < rx + b[2] and abs(y - b[1]) < ry + b[3] for b in boxes):
                item.x, item.y, item.radius = x, y, radius
                boxes.append((x, y, 1.08 * rx, 1.08 * ry))
                break
        else:
            return False
    return True


def new_text(rng):
    kind = rng.random()
    if kind < 0.5:
        word = rng.choice(WORDS)
        text = rng.choice((word, word, word.title(), word.lower()))
    elif kind < 0.92:
        text = str(rng.randint(10, 99))
    else:
        text = str(rng.choice((rng.randint(0, 9), rng.randint(100, 999))))
    return Item("", rng.choice(COLOURS), 0, 0, 0, text=text)


def place_text(item, rng, alone):
    """radius is half the width of the text here, as a fraction of the picture's width."""
    room = (0.6 if item.text.isdigit() else 0.92) if alone else 0.5
    need = min(room, 0.075 * len(item.text) + 0.06)  # so that a letter stays readable
    width = rng.uniform(need, room)
    item.radius = width / 2
    half = width / len(item.text)  # about the height of a letter
    item.x = rng.uniform(width / 2 + 0.03, 0.97 - width / 2)
    item.y = rng.uniform(min(0.45, half), max(0.55, 1 - half))
    if alone and rng.random() < 0.4:
        item.x, item.y = 0.5, 0.5
    return item.x, item.y, width / 2 + 0.02, min(0.4, half) + 0.02


def scene(rng):
    """A random scene, with everything in its place and no colours mixed yet."""
    while True:
        width, height = random_size(rng)
        out = Scene(width, height, [])
        kind, taken = rng.random(), []
        if kind < 0.3:
            out.text = new_text(rng)
            alone = rng.random() < 0.6
            taken = [place_text(out.text, rng, alone)]
            if not alone:
                out.shapes = [new_shape(rng) for _ in range(rng.choice((1, 1, 2, 3)))]
        else:
            out.shapes = choose_shapes(rng)
        if not taken and len(out.shapes) > 1 and rng.random() < 0.25:
            done = place_on_grid(out.shapes, rng)
        else:
            done = place_freely(out.shapes, rng, out, taken)
        if done:
            return out


# --- Drawing --------------------------------------------------------------------------------


def local_colours(image, item, short):
    """The ground's colours under an item: its middle and its rim."""
    width, height = image.size
    rx, ry = item.radius * short, item.radius * short
    x, y = item.x * width, item.y * height
    spots = [(x, y), (x - rx, y), (x + rx, y), (x, y - ry), (x, y + ry)]
    return [
        image.getpixel((int(min(max(u, 0), width - 1)), int(min(max(v, 0), height - 1))))
        for u, v in spots
    ]


def mix_colours(out, image, rng):
    """Gives each item a shade that can be told from the ground; may change a colour's name."""
    short = min(out.width, out.height)
    groups = {}
    for item in out.shapes + ([out.text] if out.text else []):
        spots = local_colours(image, item, short)
        colour, shades = item.colour, groups.get(item.colour)
        need = 60 if item.text else 42
        for attempt in range(40):
            rgb = shades or shade(colour, rng)
            if colour != out.ground and min(contrast(rgb, s) for s in spots) > need:
                break
            shades = None
            if attempt > 3:
                colour = rng.choice(COLOURS)
        item.colour, item.rgb = colour, rgb
        if rng.random() < 0.5:  # things of a colour often share the shade
            groups.setdefault(colour, rgb)


def darker(rgb, factor):
    return tuple(int(c * factor) for c in rgb)


def draw_shapes(image, out, rng):
    draw = ImageDraw.Draw(image)
    short = min(image.size)
    style = rng.random()
    border = rng.choice(((0, 0, 0), (40, 40, 40), (255, 255, 255), None))
    for item in out.shapes:
        x, y, r = item.x * image.width, item.y * image.height, item.radius * short
        points = [(x + r * px, y + r * py) for px, py in item.points]
        line = max(1, int(r * rng.uniform(0.03, 0.12)))
        if style > 0.9:
            shift, dark = (
                r * rng.uniform(0.06, 0.18),
                darker(image.getpixel((int(x), int(y))), 0.55),
            )
            draw.polygon([(u + shift, v + shift) for u, v in points], fill=dark)
        if style < 0.07 and r > 0.09 * short:  # only a line, nothing inside
            draw.line(
                points + points[:2], fill=item.rgb, width=max(3, int(r * 0.16)), joint="curve"
            )
            continue
        draw.polygon(points, fill=item.rgb)
        if 0.07 <= style < 0.35:
            edge = border or darker(item.rgb, 0.6)
            draw.line(points + points[:2], fill=edge, width=line, joint="curve")


def draw(out, rng):
    """The picture of a scene, by Pillow. Settles colours and the text's place in the scene."""
    image, out.ground = backgrounds.ground(rng, out.width, out.height)
    mix_colours(out, image, rng)
    double = max(out.width, out.height) < 420 and rng.random() < 0.5
    if double:  # drawn larger and reduced: smooth edges
        image = image.resize((2 * out.width, 2 * out.height), Image.BILINEAR)
    draw_shapes(image, out, rng)
    if out.text:
        draw_text(image, out.text, rng)
    if double:
        image = image.reduce(2)
    if rng.random() < 0.12:
        image = backgrounds.vignette(image, rng)
    if rng.random() < 0.12 and max(image.size) <= 1000:
        image = backgrounds.add_noise(image, rng, rng.uniform(0.05, 0.35))
    return image


def encode(image, rng):
    """JPEG at some quality, or PNG."""
    data = io.BytesIO()
    if rng.random() < 0.7:
        image.save(data, "JPEG", quality=rng.randint(45, 96))
    else:
        image.save(data, "PNG", compress_level=1)
    return data.getvalue()

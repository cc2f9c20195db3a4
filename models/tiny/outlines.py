"""The outlines of the shapes, around (0, 0) with radius 1."""

import math


def ring(count, radius=1.0, phase=-math.pi / 2):
    return [
        (
            radius * math.cos(phase + 2 * math.pi * i / count),
            radius * math.sin(phase + 2 * math.pi * i / count),
        )
        for i in range(count)
    ]


def star_points(rng):
    count = 5 if rng.random() < 0.9 else 6
    inner = ring(count, rng.uniform(0.36, 0.5), -math.pi / 2 + math.pi / count)
    return [p for pair in zip(ring(count), inner) for p in pair]


def heart_points():
    out = []
    for i in range(32):
        t = 2 * math.pi * i / 32
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        out.append((16 * math.sin(t) ** 3 / 16.5, -(y + 2) / 15))
    return out


def cross_points(rng):
    a = rng.uniform(0.24, 0.4)
    quarter = [(a, -1), (a, -a), (1, -a)]
    out = []
    for _ in range(4):
        out += quarter
        quarter = [(-y, x) for x, y in quarter]
    return out


def moon_points(rng):
    """Between the unit circle and a smaller one that touches its side."""
    shift, bend = rng.uniform(0.35, 0.6), math.radians(rng.uniform(40, 60))
    tip = (math.cos(bend), math.sin(bend))
    inner = math.hypot(tip[0] - shift, tip[1])
    outer_arc = [bend + (2 * math.pi - 2 * bend) * i / 24 for i in range(25)]
    start = math.atan2(tip[1], tip[0] - shift)
    inner_arc = [start + (2 * math.pi - 2 * start) * i / 20 for i in range(21)]
    out = [(math.cos(t), math.sin(t)) for t in outer_arc]
    out += [(shift + inner * math.cos(t), inner * math.sin(t)) for t in reversed(inner_arc)]
    return [(x + 0.15, y) for x, y in out]


def outline(shape, rng):
    """(points, turn in degrees) of a shape of radius 1, as people draw it."""
    small = rng.gauss(0, 9) if rng.random() < 0.5 else 0
    if shape == "circle":
        return ring(40), 0
    if shape == "square":
        turn = rng.uniform(-25, 25) if rng.random() < 0.3 else small
        return [(-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)], max(-25, min(25, turn))
    if shape == "triangle":
        w, h, tip = rng.uniform(0.75, 1), rng.uniform(0.8, 1), 0
        if rng.random() < 0.15:
            tip = rng.choice((-w, w))
        turn = rng.uniform(0, 360) if rng.random() < 0.2 else small
        return [(tip, -h), (w, h * 0.85), (-w, h * 0.85)], turn + (
            180 if rng.random() < 0.12 else 0
        )
    if shape == "star":
        return star_points(rng), rng.uniform(0, 72) if rng.random() < 0.3 else small
    if shape == "heart":
        return heart_points(), small
    if shape == "diamond":
        w = rng.uniform(0.6, 0.92)
        return [(0, -1), (w, 0), (0, 1), (-w, 0)], max(-8, min(8, small * 0.5))
    if shape == "cross":
        return cross_points(rng), small
    return moon_points(rng), small + (180 if rng.random() < 0.5 else 0)


def turned(points, degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(c * x - s * y, s * x + c * y) for x, y in points]

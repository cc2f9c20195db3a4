"""The names of colours, shapes and places in English and Chinese, as asked and as answered."""

import dataclasses
import re

import phrases
from scenes import COLOURS, SHAPES

PLURAL = {s: s + "s" for s in SHAPES} | {"cross": "crosses"}
ASKED = {  # other names that people use
    "circle": ["circle"] * 4 + ["disc", "round shape"],
    "square": ["square"] * 5 + ["box"],
    "triangle": ["triangle"],
    "star": ["star"],
    "heart": ["heart"],
    "diamond": ["diamond"] * 5 + ["rhombus"],
    "cross": ["cross"] * 4 + ["plus sign", "plus"],
    "moon": ["moon"] * 4 + ["crescent", "crescent moon"],
}
ASKED_PLURAL = {
    "disc": "discs",
    "box": "boxes",
    "rhombus": "rhombuses",
    "plus": "pluses",
    "cross": "crosses",
}
ZH_SHAPE = dict(zip(SHAPES, "圆形 正方形 三角形 星形 心形 菱形 十字形 月牙形".split()))
ZH_ASKED = {
    "circle": ["圆形", "圆形", "圆", "圆圈"],
    "square": ["正方形", "正方形", "方形", "方块"],
    "triangle": ["三角形", "三角形", "三角"],
    "star": ["星形", "星星", "五角星"],
    "heart": ["心形", "心形", "爱心"],
    "diamond": ["菱形"],
    "cross": ["十字形", "十字", "十字架"],
    "moon": ["月牙形", "月亮", "月牙"],
}
ZH_COLOUR = dict(
    zip(COLOURS + ("grey",), "红色 橙色 黄色 绿色 蓝色 紫色 粉色 黑色 白色 灰色".split())
)
EN_ZONE = (
    "in the top left corner|at the top|in the top right corner|on the left|in the centre|"
    "on the right|"
    "in the bottom left corner|at the bottom|in the bottom right corner"
).split("|")
EN_ZONE_ASKED = {
    0: ["in the top left corner", "at the top left", "in the upper left corner", "in the top left"],
    2: [
        "in the top right corner",
        "at the top right",
        "in the upper right corner",
        "in the top right",
    ],
    4: ["in the centre", "in the middle", "in the center"],
    6: [
        "in the bottom left corner",
        "at the bottom left",
        "in the lower left corner",
        "in the bottom left",
    ],
    8: [
        "in the bottom right corner",
        "at the bottom right",
        "in the lower right corner",
        "in the bottom right",
    ],
}
ZH_ZONE = "左上角 上方 右上角 左边 中间 右边 左下角 下方 右下角".split()
ZH_ZONE_ASKED = {
    0: ["左上角", "左上方"],
    2: ["右上角", "右上方"],
    4: ["中间", "中央", "正中间"],
    6: ["左下角", "左下方"],
    8: ["右下角", "右下方"],
}
SIDES = {
    "left": (("on the left", "on the left side", "to the left"), ("左边", "左侧")),
    "right": (("on the right", "on the right side", "to the right"), ("右边", "右侧")),
    "top": (("at the top", "at the top"), ("上方", "上面", "顶部")),
    "bottom": (("at the bottom", "at the bottom"), ("下方", "下面", "底部")),
}
RELATIONS = {
    "left": (("to the left of", "left of"), ("左边", "左侧")),
    "right": (("to the right of", "right of"), ("右边", "右侧")),
    "above": (("above", "over"), ("上方", "上面")),
    "below": (("below", "under", "beneath"), ("下方", "下面")),
}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


@dataclasses.dataclass
class Turn:
    kind: str
    language: str
    question: str
    answer: str
    topic: object = None  # the one shape the talk is about, for "it"


def zone(item):
    """0..8, or None near a border between two zones."""
    cells = []
    for v in (item.x, item.y):
        if abs(v - 0.4) < 0.035 or abs(v - 0.6) < 0.035:
            return None
        cells.append(0 if v < 0.4 else 1 if v < 0.6 else 2)
    return cells[0] + 3 * cells[1]


def an(text):
    return ("an " if text[0] in "aeiou" else "a ") + text


class Namer:
    """How the things of one scene are called, in questions and in answers."""

    def __init__(self, scene, rng, held=False):
        self.scene, self.rng, self.held, self.language = scene, rng, held, "en"

    def turn(self, kind, answer_en, answer_zh, topic=None, **slots):
        text = phrases.wording(kind, self.language, self.rng, self.held).format(**slots)
        if self.language == "en":
            text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
        answer = answer_en if self.language == "en" else answer_zh
        return Turn(
            kind, self.language, phrases.roughen(text, self.rng, not self.held), answer, topic
        )

    def with_shape(self, shape):
        return [i for i in self.scene.shapes if i.shape == shape]

    def ask_shape(self, shape):
        return self.rng.choice((ASKED if self.language == "en" else ZH_ASKED)[shape])

    def ask_shapes(self, shape):
        name = self.ask_shape(shape)
        return name if self.language == "zh" else ASKED_PLURAL.get(name, name + "s")

    def ask_colour(self, colour):
        if self.language == "zh":
            return {"pink": self.rng.choice(("粉色", "粉红色"))}.get(colour, ZH_COLOUR[colour])
        return colour

    def name(self, item, asked, with_colour=None):
        """(English, Chinese) names of an item that is the only one so called, or None."""
        alone = len(self.with_shape(item.shape)) == 1
        if not alone and sum(i.colour == item.colour for i in self.with_shape(item.shape)) > 1:
            return None
        both = not alone if with_colour is None else with_colour
        en = self.rng.choice(ASKED[item.shape]) if asked else item.shape
        zh = self.rng.choice(ZH_ASKED[item.shape]) if asked else ZH_SHAPE[item.shape]
        if both:
            return f"{item.colour} {en}", f"{ZH_COLOUR[item.colour]}的{zh}"
        return en, zh

    def slot(self, item):
        """How the question calls an item, and the (English, Chinese) names for the answer."""
        alone = len(self.with_shape(item.shape)) == 1
        full = not alone or self.rng.random() < 0.25
        asked = self.name(item, True, full)
        return (asked[self.language == "zh"], self.name(item, False, full)) if asked else None

    def one(self):
        named = [i for i in self.scene.shapes if self.name(i, False)]
        return self.rng.choice(named) if named else None

    def two(self):
        named = [i for i in self.scene.shapes if self.name(i, False)]
        return self.rng.sample(named, 2) if len(named) > 1 else None

    def two_colours(self, colour):
        colour = colour or self.rng.choice(COLOURS)
        pair = [colour, self.rng.choice([c for c in COLOURS if c != colour])]
        self.rng.shuffle(pair)
        return {"c1": self.ask_colour(pair[0]), "c2": self.ask_colour(pair[1])}

    def two_shapes(self, shape):
        pair = [shape, self.rng.choice([s for s in SHAPES if s != shape])]
        self.rng.shuffle(pair)
        return {"s1": self.ask_shape(pair[0]), "s2": self.ask_shape(pair[1])}

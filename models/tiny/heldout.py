"""Questions that training never saw, and the judge of their answers.

heldout_cases(count, seed) gives scenes of other seeds and wordings of the held-out lists, with
the picture's bytes. It needs Pillow and numpy only, but draws its printed texts with matplotlib's
fonts where matplotlib is installed, and with Pillow's own font where not: the cases are the same
for the same arguments and the same fonts.
"""

import dataclasses
import random
import re

import scenes
from conversations import fresh_turn
from names import PLURAL, ZH_COLOUR
from questions import Asker
from scenes import COLOURS, SHAPES, WORDS

EN_NUMBERS = {
    w: str(i) for i, w in enumerate("zero one two three four five six seven eight nine".split())
}
ZH_NUMBERS = {c: str(i) for i, c in enumerate("零一二三四五六七八九")} | {"两": "2"}
ZH_SHAPE_SIGNS = {
    "三角": "triangle",
    "圆": "circle",
    "方形": "square",
    "方块": "square",
    "星": "star",
    "心形": "heart",
    "爱心": "heart",
    "菱": "diamond",
    "十字": "cross",
    "月": "moon",
}
ZH_PLACES = {
    "left": "左(?:边|侧|面|上|下|方)",
    "right": "右(?:边|侧|面|上|下|方)",
    "top": "[左右]?上(?:方|角|面(?!写)|边|部)|顶",
    "bottom": "下(?:方|角|面|边|部)|底",
    "centre": "中(?:间|央|心)|正中",
}
EN_PLACES = {
    "left": "left",
    "right": "right",
    "top": "top|upper|above",
    "bottom": "bottom|lower|below",
    "centre": "centre|center|middle",
}


def facts(answer):
    """What an answer claims, whatever its wording: sets of colours, shapes, places, numbers ..."""
    low = answer.lower()
    words = re.findall(r"[a-z]+", low)
    zh = answer.replace("粉红", "粉")
    out = {
        "colours": {c for c in COLOURS if c in words}
        | {c for c in COLOURS if ZH_COLOUR[c][0] in zh},
        "shapes": {s for s in SHAPES if s in words or PLURAL[s] in words}
        | {s for sign, s in ZH_SHAPE_SIGNS.items() if sign in zh},
        "places": {p for p, e in EN_PLACES.items() if re.search(rf"\b(?:{e})\b", low)}
        | {p for p, e in ZH_PLACES.items() if re.search(e, zh)},
        "number": re.findall(r"\d+", answer)
        or [EN_NUMBERS[w] for w in words if w in EN_NUMBERS]
        or [ZH_NUMBERS[c] for c in re.findall("([零一二三四五六七八九两])个", zh)],
        "words": {w for w in WORDS if re.search(rf"(?<![A-Z]){w}(?![A-Z])", answer.upper())},
        "size": {s for s in ("bigg", "small", "larg") if s in low}
        | {s for s in ("大", "小") if s in zh},
        "no": bool(
            re.match(r"(no|not)\b", low)
            or re.match("不|没", zh)
            or re.search(r"\bno\b", low)
            or "没有" in zh
        ),
        "yes": bool(re.match(r"yes\b", low) or re.match("是|有|对", zh)),
    }
    if not out["number"] and out["no"]:
        out["number"] = ["0"]
    return out


CHECKED = {  # by category: which facts must be equal
    "colour": ("colours",),
    "shape": ("shapes",),
    "count": ("number",),
    "position": ("places",),
    "number": ("number",),
    "word": ("words",),
    "relation": ("places", "shapes", "yes"),
    "size": ("shapes", "size", "yes"),
    "existence": ("yes", "no"),
    "description": ("colours", "shapes", "number"),
    "follow-up": ("colours", "places", "shapes", "number"),
    "what is where": ("colours", "shapes"),
}


@dataclasses.dataclass
class Case:
    """A question that training never saw. messages: {"role", "text"}; the first one, from the
    user, carries the picture; the last is the question."""

    category: str
    language: str
    image_bytes: bytes
    messages: list
    expected: str

    def is_right(self, answer):
        """Equal in what the category asks for; an answer that adds a rival word is wrong."""
        mine, right = facts(answer), facts(self.expected)
        return bool(answer.strip()) and all(
            mine[key] == right[key] for key in CHECKED[self.category]
        )


CATEGORY_MAKERS = {
    "colour": ("colour", "colour_one"),
    "shape": ("shape", "shape_one"),
    "count": ("count", "count_all", "count_colour"),
    "position": ("position", "side"),
    "number": ("read",),
    "word": ("read",),
    "relation": ("relation",),
    "size": ("compare", "extreme"),
    "existence": ("exist",),
    "description": ("describe",),
    "follow-up": (),
    "what is where": ("what_where",),
}
CATEGORIES = tuple(CATEGORY_MAKERS)


def heldout_turns(category, asker, target):
    """The turns of a case, the last one being asked; None if the scene does not offer it."""
    rng, scene = asker.rng, asker.scene
    if category in ("number", "word"):
        if not scene.text or (
            len(scene.text.text) != 2 if category == "number" else scene.text.text.isdigit()
        ):
            return None
        if category == "number" and not scene.text.text.isdigit():
            return None
    elif not scene.shapes:
        return None
    if category == "follow-up":
        first = fresh_turn(asker, ("colour", "position", "shape", "count", "shape_one"))
        second = asker.follow_up(first) if first else None
        return [first, second] if second else None
    turn = getattr(asker, rng.choice(CATEGORY_MAKERS[category]))()
    if turn is None or (category == "count" and facts(turn.answer)["number"] != [str(target)]):
        return None
    return [turn]


def heldout_case(category, language, seed, target):
    rng = random.Random(f"held-out {seed}")
    while True:
        scene = scenes.scene(rng)
        if category in ("number", "word") and scene.text is None:
            continue
        if category not in ("number", "word") and not scene.shapes:
            continue
        if category == "count" and len(scene.shapes) < target:
            continue
        image = scenes.draw(scene, rng)
        asker = Asker(scene, rng, held=True)
        asker.language = language
        turns = heldout_turns(category, asker, target)
        if turns:
            messages = []
            for turn in turns[:-1]:
                messages += [
                    {"role": "user", "text": turn.question},
                    {"role": "assistant", "text": turn.answer},
                ]
            messages.append({"role": "user", "text": turns[-1].question})
            return Case(category, language, scenes.encode(image, rng), messages, turns[-1].answer)


def heldout_cases(count, seed):
    """Categories and languages take turns; the numbers to count go from 0 to 5."""
    cases = []
    for i in range(count):
        category = CATEGORIES[i // 2 % len(CATEGORIES)]
        language = ("en", "zh")[i % 2]
        target = (1, 2, 3, 4, 5, 0)[i // (2 * len(CATEGORIES)) % 6]
        cases.append(heldout_case(category, language, f"{seed}-{i}", target))
    return cases

"""Conversations for training: one to four turns about a scene, or small talk without a picture."""

import phrases
from names import Turn
from questions import Asker
from talk import NO_PICTURE, TALK

MAKERS = {
    "colour": 10,
    "colour_absent": 1,
    "colour_one": 6,
    "shape": 9,
    "shape_one": 6,
    "count": 15,
    "count_colour": 4,
    "count_all": 5,
    "position": 12,
    "side": 3,
    "what_where": 4,
    "relation": 8,
    "compare": 5,
    "extreme": 2,
    "exist": 7,
    "ground": 1,
    "describe": 5,
    "read": 1,
}
TEXT_MAKERS = {"read": 16, "text_colour": 1, "describe": 2, "exist": 1, "ground": 0.5}
NEED_SHAPES = {"colour", "shape", "count", "count_colour", "colour_absent"}


def fresh_turn(asker, only=None):
    """A question that fits the scene; only: the makers to choose from. None if none fits."""
    text, shapes = asker.scene.text, asker.scene.shapes
    weights = TEXT_MAKERS if text and (not shapes or asker.rng.random() < 0.5) else MAKERS
    if only:
        weights = {name: MAKERS[name] for name in only}
    names = list(weights)
    for _ in range(100):
        name = asker.rng.choices(names, list(weights.values()))[0]
        turn = getattr(asker, name)() if shapes or name not in NEED_SHAPES else None
        if turn is not None:
            return turn
    return None


def conversation(scene, rng):
    """One to four turns about the scene, in one language, now and then changing it."""
    asker = Asker(scene, rng)
    asker.language = rng.choice(("en", "zh"))
    turns = []
    for _ in range(rng.choice((1, 1, 2, 2, 3, 4))):
        if rng.random() < 0.06:
            asker.language = "zh" if asker.language == "en" else "en"
        turn = asker.follow_up(turns[-1]) if turns and turns[-1] and rng.random() < 0.6 else None
        if turns and rng.random() < 0.03:
            turn = small_talk(rng, asker.language)
        turns.append(turn or fresh_turn(asker))
    return [turn for turn in turns if turn]


def small_talk(rng, language):
    questions, answer = rng.choice(TALK[language])
    text = rng.choice(questions) + rng.choice(
        ("", "", "!", "?", ".") if language == "en" else ("", "", "！", "？", "。")
    )
    return Turn("talk", language, phrases.roughen(text, rng, True), answer)


def text_only_conversation(rng, imagined):
    """Talk without a picture; questions about one get a plain no. imagined: any scene."""
    language, turns = rng.choice(("en", "zh")), []
    for _ in range(rng.choice((1, 1, 2, 3))):
        turn = small_talk(rng, language)
        if rng.random() < 0.45:
            asker = Asker(imagined, rng)
            asker.language = language
            turn = fresh_turn(asker) or turn
            turn.answer = turn.answer if turn.kind == "talk" else NO_PICTURE[language]
        turns.append(turn)
    return turns

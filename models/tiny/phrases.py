"""How people ask: wordings from phrases_en.txt and phrases_zh.txt.

Training draws from the "ask" and "tell" lists, with openers, tails, slips and stray words, but
never from the "held" lists, and never a wording whose hash keeps it for evaluation.
"""

import functools
import hashlib
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
GROUP = re.compile(r"\(([^()]*)\)")
WEAK = {  # words that a question can lose without losing its meaning
    "en": set(
        "the is are there do you can see in this picture image photo of does have me any it that "
        "name give find tell state identify describe caption explain analyse shown please could "
        "say has here".split()
    ),
    "zh": set("的里中上这个有是看到请图片你能了一下说出那吗呢"),
}


@functools.lru_cache(maxsize=None)
def lists(language):
    """{(kind, list name): [template, ...]}"""
    out, section = {}, None
    with open(os.path.join(HERE, f"phrases_{language}.txt"), encoding="utf-8") as file:
        for line in file.read().splitlines():
            if line.startswith("["):
                section = out.setdefault(tuple(line[1:-1].split()), [])
            elif line and not line.startswith("#"):
                section.append(line[1:-1] if line.startswith('"') else line)
    return out


def expand(template, rng):
    """Chooses one alternative of each (a|b), inner ones first."""
    while "(" in template:
        template = GROUP.sub(lambda group: rng.choice(group[1].split("|")), template)
    return re.sub(" +", " ", template).strip()


def is_held(text):
    """One wording in twelve of the ordinary lists is kept out of training as well."""
    return hashlib.md5(text.lower().encode()).digest()[0] % 12 == 0


def wording(kind, language, rng, held):
    """An unfilled question of a kind, such as "Please tell me where the {s} is."."""
    table = lists(language)
    if held and rng.random() < 0.75:
        return dress(expand(rng.choice(table[kind, "held"]), rng), language, rng, True)
    while True:
        if (kind, "tell") in table and rng.random() < 0.2:
            start = rng.choice(table["starts", "ask"])
            text = start + expand(rng.choice(table[kind, "tell"]), rng)
            text += "?" if start.startswith(("Can", "Could", "Do", "Would")) else "."
        else:
            text = dress(expand(rng.choice(table[kind, "ask"]), rng), language, rng, held)
        if is_held(text) == held:
            return text if held else stray(text, language, rng)


def dress(text, language, rng, held):
    """Adds an opener, an ending, a tail, and the mark at the end."""
    table, english = lists(language), language == "en"
    openers = table["openers", "ask"] + (table["openers", "held"] if held else [])
    orders = "Name Give State Count Say Read Find Describe List Locate Identify".split()
    if rng.random() < 0.08:
        text += rng.choice(table["ends", "ask"])
    if english:
        text += "." if text.startswith(tuple(orders)) else "?"
    else:
        text += "？"
    if rng.random() < 0.05:
        text += rng.choice(table["tails", "ask"])
    opener = rng.choice(openers) if rng.random() < 0.3 else ""
    if opener and english and not opener.endswith((". ", "! ")):
        text = text[0].lower() + text[1:]
    return opener + text if opener else text[:1].upper() + text[1:]


def stray(text, language, rng):
    """Puts in a word or two that say nothing, or in the place of a word that says little, so that
    the model learns to look past what it does not know."""
    if rng.random() > 0.35:
        return text
    words = text.split(" ") if language == "en" else re.findall(r"\{\w+\}|.", text)
    filler = lists(language)["filler", "ask"]
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(words))
        weak = words[at].strip("?.,").lower() in WEAK[language]
        if weak and rng.random() < 0.6:
            words[at] = rng.choice(filler)
        else:
            words.insert(at, rng.choice(filler))
    return (" " if language == "en" else "").join(words)


def roughen(text, rng, slips):
    """Small letters, no question mark, a slip of the finger: people type like that."""
    draw = rng.random()
    if draw < 0.15:
        text = text.lower()
    elif draw < 0.17:
        text = text.upper()
    if rng.random() < 0.14:
        text = text.rstrip("?.？。")
    elif rng.random() < 0.06:
        text = text.replace("？", "?").replace("，", ",")
    if slips and rng.random() < 0.03 and len(text) > 8:
        i = rng.randrange(len(text) - 1)
        swapped = text[:i] + text[i + 1] + text[i] + text[i + 2 :]
        text = rng.choice((text[:i] + text[i + 1 :], swapped))
    return text

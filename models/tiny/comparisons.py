"""Questions about sides, relations between two shapes, and sizes."""

from names import (
    EN_ZONE,
    EN_ZONE_ASKED,
    OPPOSITE,
    RELATIONS,
    SIDES,
    ZH_COLOUR,
    ZH_SHAPE,
    ZH_ZONE,
    ZH_ZONE_ASKED,
    Namer,
    an,
    zone,
)


class Comparing(Namer):
    """The makers of such questions; None when one does not fit the scene."""

    def side(self):
        item, across = self.one(), self.rng.random() < 0.6
        v = item and (item.x if across else item.y)
        if item is None or abs(v - 0.5) < 0.07:
            return None
        asked, (en, zh) = self.slot(item)
        where = ("left" if v < 0.5 else "right") if across else ("top" if v < 0.5 else "bottom")
        en_where, zh_where = SIDES[where]
        return self.turn(
            "side" if across else "level",
            f"The {en} is {en_where[0]}.",
            f"{zh}在{zh_where[0]}。",
            item,
            s=asked,
        )

    def what_where(self):
        if self.scene.text:
            return None
        zones = [zone(i) for i in self.scene.shapes]
        fits = []
        for z in (0, 2, 4, 6, 8):
            if zones.count(z) == 1 and None not in zones:
                item = self.scene.shapes[zones.index(z)]
                fits.append((item, (EN_ZONE_ASKED[z], ZH_ZONE_ASKED[z]), EN_ZONE[z], ZH_ZONE[z]))
        for where, pick in (
            ("left", lambda i: i.x),
            ("right", lambda i: 1 - i.x),
            ("top", lambda i: i.y),
            ("bottom", lambda i: 1 - i.y),
        ):
            near = [i for i in self.scene.shapes if pick(i) < 0.5]
            if (
                len(near) == 1
                and all(abs(pick(i) - 0.5) > 0.07 for i in self.scene.shapes)
                and len(self.scene.shapes) > 1
            ):
                fits.append((near[0], SIDES[where], SIDES[where][0][0], SIDES[where][1][0]))
        if not fits:
            return None
        item, asked, en, zh = self.rng.choice(fits)
        thing = f"{item.colour} {item.shape}"
        zh_thing = f"{ZH_COLOUR[item.colour]}的{ZH_SHAPE[item.shape]}"
        return self.turn(
            "what_where",
            f"There is {an(thing)} {en}.",
            f"{zh}有一个{zh_thing}。",
            item,
            z=self.rng.choice(asked[self.language == "zh"]),
        )

    def relation_of(self, a, b):
        """The side of b on which a plainly lies, or None."""
        dx, dy = a.x - b.x, a.y - b.y
        if abs(dx) > 0.14 and abs(dx) > 1.6 * abs(dy):
            return "left" if dx < 0 else "right"
        if abs(dy) > 0.14 and abs(dy) > 1.6 * abs(dx):
            return "above" if dy < 0 else "below"
        return None

    def relation(self):
        pair = self.two()
        where = pair and self.relation_of(*pair)
        if not where:
            return None
        (a, (en_a, zh_a)), (b, (en_b, zh_b)) = (self.slot(i) for i in pair)
        en, zh = RELATIONS[where]
        tell = f"the {en_a} is {en[0]} the {en_b}."
        zh_tell = f"{zh_a}在{zh_b}的{zh[0]}。"
        draw = self.rng.random()
        if draw < 0.4:
            return self.turn(
                "relation_where", tell[0].upper() + tell[1:], zh_tell, pair[0], a=a, b=b
            )
        if draw < 0.55 and len(self.scene.shapes) == 2 and not self.scene.text:
            thing = f"{pair[0].colour} {pair[0].shape}"
            r = self.rng.choice(RELATIONS[where][self.language == "zh"])
            zh_thing = f"{ZH_COLOUR[pair[0].colour]}的{ZH_SHAPE[pair[0].shape]}"
            return self.turn(
                "relation_what",
                f"There is {an(thing)} {en[0]} the {en_b}.",
                f"{zh_b}的{zh[0]}有一个{zh_thing}。",
                pair[0],
                b=b,
                r=r,
            )
        asked = where if self.rng.random() < 0.5 else OPPOSITE[where]
        r = self.rng.choice(RELATIONS[asked][self.language == "zh"])
        yes = asked == where
        return self.turn(
            "relation_yes",
            ("Yes, " if yes else "No, ") + tell,
            ("是的，" if yes else "不是，") + zh_tell,
            pair[0],
            a=a,
            b=b,
            r=r,
        )

    def compare(self):
        pair = self.two()
        if not pair:
            return None
        big = max(pair, key=lambda i: i.area)
        small = pair[0] if big is pair[1] else pair[1]
        if big.area < 1.6 * small.area or big.radius < 1.15 * small.radius:
            return None
        a, b = pair
        (ask_a, (en_a, zh_a)), (ask_b, (en_b, zh_b)) = self.slot(a), self.slot(b)
        bigger = self.rng.random() < 0.6
        en, zh = ("bigger", "大") if bigger else ("smaller", "小")
        cmp = self.rng.choice(("bigger", "larger")) if bigger else "smaller"
        slots = {"a": ask_a, "b": ask_b, "cmp": cmp if self.language == "en" else zh}
        if self.rng.random() < 0.35:
            true = (a is big) == bigger
            fact_en, fact_zh = ("bigger", "大") if a is big else ("smaller", "小")
            return self.turn(
                "compare_yes",
                f"{'Yes' if true else 'No'}, the {en_a} is {fact_en} than the {en_b}.",
                f"{'是的' if true else '不是'}，{zh_a}比{zh_b}{fact_zh}。",
                a,
                **slots,
            )
        if len(self.scene.shapes) > 2:
            slots = dict(slots)
        win_en, win_zh = (en_a, zh_a) if (a is big) == bigger else (en_b, zh_b)
        while True:  # "which one is bigger?" is only clear when there are just two
            turn = self.turn(
                "compare",
                f"The {win_en} is {en}.",
                f"{win_zh}更{zh}。",
                big if bigger else small,
                **slots,
            )
            if len(self.scene.shapes) == 2 or ask_a.lower() in turn.question.lower():
                return turn

    def extreme(self):
        if len(self.scene.shapes) < 3:
            return None
        order = sorted(self.scene.shapes, key=lambda i: i.area)
        if self.rng.random() < 0.6:
            item, next_one, en, zh, asked = (
                order[-1],
                order[-2],
                "biggest",
                "大",
                ("biggest", "largest"),
            )
            clear = item.area > 1.6 * next_one.area and item.radius > 1.15 * next_one.radius
        else:
            item, next_one, en, zh, asked = order[0], order[1], "smallest", "小", ("smallest",)
            clear = next_one.area > 1.6 * item.area and next_one.radius > 1.15 * item.radius
        if not clear:
            return None
        thing, zh_thing = (
            f"{item.colour} {item.shape}",
            f"{ZH_COLOUR[item.colour]}的{ZH_SHAPE[item.shape]}",
        )
        sup, cmp = self.rng.choice(asked), zh
        return self.turn(
            "extreme",
            f"The {en} shape is the {thing}.",
            f"最{zh}的图形是{zh_thing}。",
            item,
            sup=sup,
            cmp=cmp,
        )

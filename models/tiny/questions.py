"""The kinds of question about a scene, and their answers."""

from comparisons import Comparing
from names import ASKED_PLURAL, EN_ZONE, PLURAL, ZH_COLOUR, ZH_SHAPE, ZH_ZONE, an, zone
from scenes import COLOURS, SHAPES


class Asker(Comparing):
    """Makes turns about one scene; each maker is one kind of question.

    A maker returns None when its question does not fit the scene."""

    def colour(self, shape=None):
        shape = shape or self.rng.choice(self.scene.shapes).shape
        group = self.with_shape(shape)
        colours = {i.colour for i in group}
        if not group:
            return self.turn(
                "colour",
                f"There is no {shape}.",
                f"图里没有{ZH_SHAPE[shape]}。",
                None,
                s=self.ask_shape(shape),
                **self.two_colours(None),
            )
        if len(colours) > 1:
            return None
        colour = group[0].colour
        if len(group) > 1:
            en, zh = (
                f"The {PLURAL[shape]} are {colour}.",
                f"{ZH_SHAPE[shape]}是{ZH_COLOUR[colour]}的。",
            )
            asked = self.ask_shapes(shape)
            return self.turn("colours", en, zh, None, ps=asked, s=asked)
        en, zh = f"The {shape} is {colour}.", f"{ZH_SHAPE[shape]}是{ZH_COLOUR[colour]}的。"
        return self.turn(
            "colour", en, zh, group[0], s=self.ask_shape(shape), **self.two_colours(colour)
        )

    def colour_absent(self):
        absent = [s for s in SHAPES if not self.with_shape(s)]
        return self.colour(self.rng.choice(absent))

    def colour_one(self):
        if len(self.scene.shapes) != 1 or self.scene.text:
            return None
        item = self.scene.shapes[0]
        return self.turn(
            "colour_one",
            f"The {item.shape} is {item.colour}.",
            f"{ZH_SHAPE[item.shape]}是{ZH_COLOUR[item.colour]}的。",
            item,
        )

    def shape(self):
        colour = self.rng.choice(self.scene.shapes).colour
        group = [i for i in self.scene.shapes if i.colour == colour]
        if len(group) > 1 or (self.scene.text and self.scene.text.colour == colour):
            return None
        shape = group[0].shape
        zh = f"{ZH_COLOUR[colour]}的图形是{ZH_SHAPE[shape]}。"
        return self.turn(
            "shape",
            f"The {colour} shape is {an(shape)}.",
            zh,
            group[0],
            c=self.ask_colour(colour),
            **self.two_shapes(shape),
        )

    def shape_one(self):
        if len({i.shape for i in self.scene.shapes}) != 1 or len(self.scene.shapes) != 1:
            return None
        item = self.scene.shapes[0]
        return self.turn(
            "shape_one",
            f"It is {an(item.shape)}.",
            f"这是{ZH_SHAPE[item.shape]}。",
            item,
            **self.two_shapes(item.shape),
        )

    def count(self, shape=None):
        present = [i.shape for i in self.scene.shapes]
        shape = shape or self.rng.choice(present if self.rng.random() < 0.88 else SHAPES)
        colour = (
            self.rng.choice([i.colour for i in self.with_shape(shape)] or COLOURS)
            if self.rng.random() < 0.2
            else None
        )
        return self.count_of(shape, colour, "count")

    def count_of(self, shape, colour, kind):
        number = sum(colour in (None, i.colour) for i in self.with_shape(shape))
        c_en, c_zh = (f"{colour} ", f"{ZH_COLOUR[colour]}的") if colour else ("", "")
        en = {0: f"There are no {c_en}{PLURAL[shape]}.", 1: f"There is 1 {c_en}{shape}."}
        en = en.get(number, f"There are {number} {c_en}{PLURAL[shape]}.")
        zh = (
            f"图里有{number}个{c_zh}{ZH_SHAPE[shape]}。"
            if number
            else f"图里没有{c_zh}{ZH_SHAPE[shape]}。"
        )
        asked = (c_en if self.language == "en" else c_zh) + self.ask_shapes(shape)
        return self.turn(kind, en, zh, None, ps=asked, s=asked)

    def count_colour(self):
        colour = self.rng.choice(self.scene.shapes).colour
        number = sum(i.colour == colour for i in self.scene.shapes)
        en = f"There {'is' if number == 1 else 'are'} {number} {colour} shape{'s' * (number > 1)}."
        zh = f"图里有{number}个{ZH_COLOUR[colour]}的图形。"
        noun = self.rng.choice(("shapes", "objects", "things", "ones"))
        asked = (
            f"{colour} {noun}"
            if self.language == "en"
            else f"{self.ask_colour(colour)}的{self.rng.choice(('图形', '形状', '东西'))}"
        )
        return self.turn("count", en, zh, None, ps=asked, s=asked)

    def count_all(self):
        number = len(self.scene.shapes)
        en = f"There {'is' if number == 1 else 'are'} {number} shape{'s' * (number > 1)}."
        return self.turn("count_all", en, f"图里有{number}个图形。")

    def position(self, item=None, kind="position"):
        item = item or self.one()
        if item is None or zone(item) is None:
            return None
        slot = self.slot(item)
        if slot is None:
            return None
        asked, (en, zh) = slot
        if kind == "position_it":
            en, zh = item.shape, ZH_SHAPE[item.shape]
        return self.turn(
            kind,
            f"The {en} is {EN_ZONE[zone(item)]}.",
            f"{zh}在{ZH_ZONE[zone(item)]}。",
            item,
            s=asked,
        )

    def exist(self):
        draw, shapes = self.rng.random(), self.scene.shapes
        item = self.rng.choice(shapes) if shapes and self.rng.random() < 0.8 else None
        shape = item.shape if item else self.rng.choice(SHAPES)
        colour = item.colour if item else self.rng.choice(COLOURS)
        if self.rng.random() < 0.5:  # change it: mostly to what is not there
            if self.rng.random() < 0.5:
                shape = self.rng.choice(SHAPES)
            else:
                colour = self.rng.choice(COLOURS)
        if draw < 0.3:
            found = any(i.shape == shape for i in shapes)
            en, zh, asked = shape, ZH_SHAPE[shape], self.ask_shape(shape)
            many = asked if self.language == "zh" else ASKED_PLURAL.get(asked, asked + "s")
        else:
            found = any(i.shape == shape and i.colour == colour for i in shapes)
            en, zh = f"{colour} {shape}", f"{ZH_COLOUR[colour]}的{ZH_SHAPE[shape]}"
            name = self.ask_shape(shape)
            joint = " " if self.language == "en" else "的"
            asked = self.ask_colour(colour) + joint + name
            many = (
                asked if self.language == "zh" else f"{colour} {ASKED_PLURAL.get(name, name + 's')}"
            )
        answer = f"Yes, there is {an(en)}." if found else f"No, there is no {en}."
        return self.turn(
            "exist",
            answer,
            f"有，图里有{zh}。" if found else f"没有，图里没有{zh}。",
            item if found and item and item.shape == shape else None,
            n=asked,
            pn=many,
        )

    def read(self):
        text = self.scene.text
        kind = self.rng.choice(("read", "number", "word"))
        if text is None:
            if self.rng.random() < 0.7:
                return None
            no = {"read": ("text", "文字"), "number": ("number", "数字"), "word": ("word", "单词")}[
                kind
            ]
            return self.turn(kind, f"There is no {no[0]}.", f"图里没有{no[1]}。")
        shown = text.text.upper()
        if kind != "read":
            kind = "number" if shown.isdigit() else "word"
        answers = {
            "read": (f"It says {shown}.", f"上面写着 {shown}。"),
            "number": (f"The number is {shown}.", f"数字是 {shown}。"),
            "word": (f"The word is {shown}.", f"单词是 {shown}。"),
        }
        return self.turn(kind, *answers[kind])

    def text_colour(self):
        text = self.scene.text
        if text is None:
            return None
        number = text.text.isdigit()
        en, zh = self.rng.choice(
            (("number", "数字"), ("text", "文字"))
            if number
            else (("word", "单词"), ("text", "文字"))
        )
        return self.turn(
            "colour",
            f"The {en} is {text.colour}.",
            f"{zh}是{ZH_COLOUR[text.colour]}的。",
            None,
            s=(en, zh)[self.language == "zh"],
            **self.two_colours(text.colour),
        )

    def ground(self):
        name = self.scene.ground
        if name is None:
            return None
        return self.turn("ground", f"The background is {name}.", f"背景是{ZH_COLOUR[name]}的。")

    def describe(self):
        parts_en, parts_zh, shapes, text = [], [], self.scene.shapes, self.scene.text
        if len(shapes) == 1 and not text and zone(shapes[0]) is not None:
            item = shapes[0]
            thing, place = f"{item.colour} {item.shape}", zone(item)
            return self.turn(
                "describe",
                f"The picture shows {an(thing)} {EN_ZONE[place]}.",
                f"图片{ZH_ZONE[place]}有一个{ZH_COLOUR[item.colour]}的{ZH_SHAPE[item.shape]}。",
                item,
            )
        groups = {}
        for item in sorted(shapes, key=lambda i: i.x):
            groups.setdefault((item.colour, item.shape), []).append(item)
        for (colour, shape), items in groups.items():
            n = len(items)
            parts_en.append(an(f"{colour} {shape}") if n == 1 else f"{n} {colour} {PLURAL[shape]}")
            parts_zh.append(f"{'一' if n == 1 else n}个{ZH_COLOUR[colour]}的{ZH_SHAPE[shape]}")
        if text:
            shown, number = text.text.upper(), text.text.isdigit()
            parts_en.append(f"the {'number' if number else 'word'} {shown}")
            parts_zh.append(f"{'数字' if number else '单词'} {shown}")
        en = (
            parts_en[0] if len(parts_en) == 1 else ", ".join(parts_en[:-1]) + " and " + parts_en[-1]
        )
        zh = parts_zh[0] if len(parts_zh) == 1 else "、".join(parts_zh[:-1]) + "和" + parts_zh[-1]
        topic = shapes[0] if len(shapes) == 1 and not text else None
        return self.turn("describe", f"The picture shows {en}.", f"图片里有{zh}。", topic)

    # --- Follow-ups -------------------------------------------------------------------------

    def follow_up(self, last):
        """A question that only the talk so far makes clear, or None."""
        options = []
        topic = last.topic
        if topic is not None:
            options += ["position_it", "position_it", "count_them"]
            if topic.colour not in last.answer and ZH_COLOUR[topic.colour] not in last.answer:
                options += ["colour_it"] * 3
        elif last.kind.startswith("count"):
            return None if last.kind == "count_all" else self.follow_count()
        if last.kind in ("colour", "position") and topic is not None:
            options += ["other"] * 3
        if not options:
            return None
        kind = self.rng.choice(options)
        if kind == "colour_it":
            return self.turn(
                "colour_it",
                f"The {topic.shape} is {topic.colour}.",
                f"{ZH_SHAPE[topic.shape]}是{ZH_COLOUR[topic.colour]}的。",
                topic,
            )
        if kind == "position_it":
            return (
                None
                if last.kind in ("position", "side", "level")
                else self.position(topic, "position_it")
            )
        if kind == "count_them":
            return self.count_of(topic.shape, None, "count_them")
        return self.follow_other(last)

    def follow_other(self, last):
        others = [
            i
            for i in self.scene.shapes
            if i.shape != last.topic.shape and len(self.with_shape(i.shape)) == 1
        ]
        if not others:
            return None
        item = self.rng.choice(others)
        if last.kind == "position":
            z = zone(item)
            if z is None:
                return None
            answer = (
                f"The {item.shape} is {EN_ZONE[z]}.",
                f"{ZH_SHAPE[item.shape]}在{ZH_ZONE[z]}。",
            )
        else:
            answer = (
                f"The {item.shape} is {item.colour}.",
                f"{ZH_SHAPE[item.shape]}是{ZH_COLOUR[item.colour]}的。",
            )
        turn = self.turn("other", *answer, item, s=self.ask_shape(item.shape))
        turn.kind = last.kind
        return turn

    def follow_count(self):
        if not self.scene.shapes:
            return None
        shape = self.rng.choice(self.scene.shapes).shape
        return self.count_of(shape, None, "other_count")

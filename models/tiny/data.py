"""Training data: the vocabulary, conversations packed into rows of ids, and the worker processes.

A row holds one picture and as many conversations about it as fit. They share the prefix
([gMASK] <sop> <|user|> "\\n" and the image rows); the segment numbers keep them apart.
"""

import io
import mmap
import multiprocessing
import os
import random
import sys
import time

import numpy as np
from PIL import Image, ImageDraw

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "reference")]
import checkpoint  # noqa: E402
import conversations  # noqa: E402
import scenes  # noqa: E402
import talk  # noqa: E402

IMAGE_SIZE, PATCH = 224, 14
GRID = IMAGE_SIZE // PATCH
IMAGE_ROWS = (GRID // 2) ** 2 + 2
PREFIX = 4
TEXT = 250  # ids of a row after prefix and image; together 320
FIRST_POSITION = PREFIX + 3  # after boi, the position that patches share, and eoi
PACKS = 2  # packed rows made for each picture
WHAT_CLASSES = 1 + len(scenes.SHAPES) + len(scenes.CHARS)
COLOUR_CLASSES = 1 + len(scenes.COLOURS)


def sample_text(count):
    """Text to learn the vocabulary from; every Chinese character stands alone."""
    rng, out = random.Random("vocabulary"), []
    for i in range(count):
        scene = scenes.scene(rng)
        scenes.draw(scene, rng) if i % 4 == 0 else None
        for turn in conversations.conversation(scene, rng):
            out += [turn.question, turn.answer]
    for language in ("en", "zh"):
        for asked, answer in talk.TALK[language]:
            out += [*asked, *[answer] * 20]
    out += [f" {word}" for word in scenes.WORDS for _ in range(40)]
    return "\n".join("".join(f"\n{c}\n" if ord(c) > 0x2E7F else c for c in t) for t in out)


def make_vocabulary(folder, merges, max_length):
    return checkpoint.write_tokenizer(
        folder, checkpoint.train_merges(sample_text(12000), merges), max_length
    )


# --- Rows -----------------------------------------------------------------------------------


def conversation_ids(turns, prompt):
    """Ids after the first message's picture, and for each whether the model must write it."""
    ids, ours = [], []
    user, assistant = prompt.special["<|user|>"], prompt.special["<|assistant|>"]
    newline = prompt.encode("\n")
    for i, turn in enumerate(turns):
        asked = (newline if i else []) + prompt.encode(turn.question) + [assistant]
        answer = newline + prompt.encode(turn.answer) + [user]
        ids += asked + answer
        ours += [False] * len(asked) + [True] * len(answer)
    return ids, ours


def pack(scene, prompt, rng, row):
    """Fills row: ids, targets (-1: no loss), positions, segments; each [TEXT].

    Segments count from 1; those without a picture are negative; 0 is padding."""
    ids, targets, positions, segments = row
    ids[:], targets[:], positions[:], segments[:] = 0, -1, 0, 0
    at, number, misses = 0, 0, 0
    while misses < 3:
        blind = rng.random() < 0.05
        turns = (
            conversations.text_only_conversation(rng, scene)
            if blind
            else conversations.conversation(scene, rng)
        )
        if not turns:
            misses += 1
            continue
        new, ours = conversation_ids(turns, prompt)
        if at + len(new) > TEXT:
            misses += 1
            continue
        number += 1
        end = at + len(new)
        ids[at:end] = new
        # The last id of the row has nothing to predict: each target stands one to the left.
        targets[at : end - 1] = [t if o else -1 for t, o in zip(new[1:], ours[1:])]
        start = PREFIX if blind else FIRST_POSITION
        positions[at:end] = np.arange(start, start + len(new))
        segments[at:end] = -number if blind else number
        at = end


def label_grids(scene):
    """[2, GRID, GRID]: what covers each patch (shape or letter) and its colour; 0 is the ground."""
    what, colour = Image.new("L", (GRID, GRID)), Image.new("L", (GRID, GRID))
    short = min(scene.width, scene.height)
    pens = [ImageDraw.Draw(what), ImageDraw.Draw(colour)]
    for item in scene.shapes:
        rx, ry = item.radius * short / scene.width, item.radius * short / scene.height
        points = [
            ((item.x + rx * x) * GRID - 0.5, (item.y + ry * y) * GRID - 0.5) for x, y in item.points
        ]
        values = (1 + scenes.SHAPES.index(item.shape), 1 + scenes.COLOURS.index(item.colour))
        for pen, value in zip(pens, values):
            pen.polygon(points, fill=value)
    if scene.text:
        for letter, (x0, y0, x1, y1) in zip(scene.text.text.upper(), scene.text.points):
            box = [v * GRID - 0.5 for v in (x0, y0, x1, y1)]
            box[2], box[3] = max(box[0], box[2]), max(box[1], box[3])
            value = 1 + len(scenes.SHAPES) + scenes.CHARS.index(letter)
            for pen, value in zip(pens, (value, 1 + scenes.COLOURS.index(scene.text.colour))):
                pen.rectangle([round(b) for b in box], fill=value)
    return np.stack((np.asarray(what), np.asarray(colour)))


# --- The pool -------------------------------------------------------------------------------


class Pool:
    """Pictures and rows in memory that the workers fill in a circle while training reads."""

    def __init__(self, slots, workers):
        self.slots, self.workers = slots // workers * workers, workers
        n = self.slots
        self.images = self.shared((n, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        self.labels = self.shared((n, 2, GRID, GRID), np.uint8)
        self.rows = self.shared((n, PACKS, 4, TEXT), np.int16)
        self.done = self.shared((workers,), np.int64)  # pictures that each worker has made

    @staticmethod
    def shared(shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer(mmap.mmap(-1, size), dtype).reshape(shape)


def fill(pool, worker, prompt, seed):
    """A worker's whole life: makes pictures into its own share of the pool."""
    os.nice(5)
    rng = random.Random(f"train {seed} {worker}")
    share, parent = pool.slots // pool.workers, os.getppid()
    while os.getppid() == parent:  # not left behind when training is killed
        slot = worker * share + int(pool.done[worker]) % share
        make_picture(pool, slot, prompt, rng)
        pool.done[worker] += 1


def make_picture(pool, slot, prompt, rng):
    scene = scenes.scene(rng)
    image = scenes.draw(scene, rng)
    if rng.random() < 0.85:
        image = Image.open(io.BytesIO(scenes.encode(image, rng))).convert("RGB")
    pool.images[slot] = np.asarray(image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.BICUBIC))
    pool.labels[slot] = label_grids(scene)
    for row in pool.rows[slot]:
        pack(scene, prompt, rng, row)


def start_workers(pool, prompt, seed):
    """Forks the workers, before CUDA is touched; they end soon after this process."""
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=fill, args=(pool, i, prompt, seed), daemon=True)
        for i in range(pool.workers)
    ]
    for worker in workers:
        worker.start()
    return workers


if __name__ == "__main__":  # how fast one core makes pictures
    from prompt import Prompt

    test_pool, test_prompt = Pool(512, 1), Prompt(HERE)
    test_rng, begin = random.Random(1), time.time()
    for test_slot in range(400):
        make_picture(test_pool, test_slot, test_prompt, test_rng)
    print(f"{(time.time() - begin) / 400 * 1e3:.2f} ms a picture")
    rows = test_pool.rows[:400]
    used, learnt = (rows[:, :, 3] != 0).mean(), (rows[:, :, 1] >= 0).sum(-1).mean()
    print(f"{used:.3f} of a row used, {learnt:.0f} targets")

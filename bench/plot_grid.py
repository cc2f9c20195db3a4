"""Draws glimpse-grid's table: each stage's median over the batch, a line for each length of text.

    python bench/plot_grid.py grid.csv grid.png

Full lines: CUDA graphs; dashed: eager; dotted: the wall, the least time that the card allows.
"""

import argparse
import csv
import itertools

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

STYLES = {"graph": "o-", "eager": "x--"}
PANELS = [
    ("0", "decode", "decode step"),
    ("0", "prefill", "prefill"),
    ("1", "decode", "decode step behind a picture"),
    ("1", "first_token", "picture and text to first token"),
]


def read(path):
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    head = [line.lstrip("# ") for line in itertools.takewhile(lambda l: l.startswith("#"), lines)]
    return head, list(csv.DictReader(line for line in lines if not line.startswith("#")))


def draw(axes, rows, title):
    axes.set_title(title)
    rows = sorted(rows, key=lambda row: int(row["batch"]))
    texts = sorted({int(row["text"]) for row in rows})
    for number, text in enumerate(texts):
        of_text = [row for row in rows if int(row["text"]) == text]
        walls = {int(row["batch"]): float(row["wall_ms"]) for row in of_text}
        axes.plot(walls.keys(), walls.values(), ":", color=f"C{number}", linewidth=1)
        for mode, style in STYLES.items():
            medians = {
                int(row["batch"]): float(row["median_ms"]) for row in of_text if row["mode"] == mode
            }
            if medians:
                label = f"{text} tokens, {mode}"
                line = (medians.keys(), medians.values(), style)
                axes.plot(*line, color=f"C{number}", label=label, markersize=4)
    batches = sorted({int(row["batch"]) for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, batches)
    axes.set_yscale("log")
    axes.set_xlabel("sequences")
    axes.set_ylabel("ms (median)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=6)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("csv")
    parser.add_argument("image")
    args = parser.parse_args()
    head, table = read(args.csv)
    panels = []
    for picture, stage, title in PANELS:
        rows = [row for row in table if row["picture"] == picture and row["stage"] == stage]
        if rows:
            panels.append((rows, title))
    if not panels:
        raise SystemExit(f"{args.csv}: nothing to draw")
    columns = min(2, len(panels))
    lines = (len(panels) + 1) // 2
    figure, axes = pyplot.subplots(lines, columns, figsize=(6.5 * columns, 5 * lines), squeeze=False)
    for place, (rows, title) in zip(axes.flat, panels):
        draw(place, rows, title)
    for place in list(axes.flat)[len(panels) :]:
        place.axis("off")
    figure.suptitle("\n".join(head[:3]), fontsize=8)  # card, date, commit
    figure.tight_layout()
    figure.savefig(args.image, dpi=150)


if __name__ == "__main__":
    main()

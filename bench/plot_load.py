"""Draws reports of glimpse-load: a line for each, named by its --label.

    python bench/plot_load.py text_4.json text_64.json ... load.png

Above, how long what share of tokens and of calls waited at most; below, tokens a second over the
run, and how the calls ended.
"""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot, ticker  # noqa: E402

KINDS = {"text": "-", "picture": "--"}


def read(path):
    report = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    report["label"] = report["label"] or pathlib.Path(path).stem
    return report


def draw_latency(axes, reports, name, title):
    """The share that waited at most so long, as 1/(1 - share): each nine takes the same room."""
    for number, report in enumerate(reports):
        shares = report["curve_shares"]
        for kind, style in KINDS.items():
            times = report[kind][name]
            if times["count"] > 0:
                label = report["label"] + (", picture" if kind == "picture" else "")
                nines = [1 / (1 - share) for share in shares]
                axes.plot(nines, times["curve"], style, color=f"C{number % 10}", label=label)
    axes.set_title(title)
    axes.set_xscale("log")
    axes.set_xticks([2, 10, 100, 1000, 10000], ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"])
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_yscale("log")
    axes.set_ylabel("ms")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7)


def draw_rate(axes, reports):
    for number, report in enumerate(reports):
        seconds = report["seconds"]
        pairs = [(a, b) for a, b in zip(seconds, seconds[1:]) if b["s"] - a["s"] > 0.5]
        rates = [(b["tokens"] - a["tokens"]) / (b["s"] - a["s"]) for a, b in pairs]
        label = f"{report['label']}: {report['rates']['tokens_per_s']:.0f}"
        axes.plot([b["s"] for _, b in pairs], rates, color=f"C{number % 10}", label=label)
    axes.set_title("tokens/s")
    axes.set_xlabel("s")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def draw_ends(axes, reports):
    counts = [
        {f"{end['code']} {end['reason']}".strip(): end["count"] for end in report["ends_ms"]}
        for report in reports
    ]
    labels = [report["label"] for report in reports]
    left = [0] * len(reports)
    for name in sorted({name for ends in counts for name in ends}):
        width = [ends.get(name, 0) for ends in counts]
        axes.barh(labels, width, left=left, label=name)
        left = [a + b for a, b in zip(left, width)]
    axes.set_title("ends of calls")
    axes.invert_yaxis()
    axes.legend(fontsize=7)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("reports", nargs="+", metavar="report.json")
    parser.add_argument("image")
    args = parser.parse_args()
    reports = [read(path) for path in args.reports]
    figure, axes = pyplot.subplots(2, 2, figsize=(13, 9))
    draw_latency(axes[0][0], reports, "inter_token_ms", "between two tokens")
    draw_latency(axes[0][1], reports, "first_token_ms", "to the first token")
    draw_rate(axes[1][0], reports)
    draw_ends(axes[1][1], reports)
    first = reports[0]
    model = first["model"]
    figure.suptitle(
        f"{model['name']}, {model['dtype']} on {model['device']}; {first['date']}; {first['commit']}",
        fontsize=8,
    )
    figure.tight_layout()
    figure.savefig(args.image, dpi=150)


if __name__ == "__main__":
    main()

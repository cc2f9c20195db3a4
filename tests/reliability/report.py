"""report.py FOLDER [FILE]: the rows that the reliability tests wrote to FOLDER, as a table on
standard output, and in FILE: as JSON if its name ends so, else as that table."""

import datetime
import json
import os
import pathlib
import platform
import sys

HEAD = ("promise", "faults injected", "requests", "wrong answers", "leaks", "measured", "holds")


def key(row):
    return int(row["promise"][1:]), row["faults"]


def measured(row):
    return "; ".join(
        f"{f['what']} {f['value']:.4g} {f['unit']} (<= {f['limit']:g})" for f in row["figures"]
    )


def table(rows):
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for row in rows:
        holds = "yes" if row["passed"] else "NO"
        cells = [row["promise"], row["faults"], f"{row['requests']:,}", row["wrong_answers"]]
        cells += [row["leaks"], measured(row), holds]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    folder = pathlib.Path(sys.argv[1])
    rows = sorted((json.loads(p.read_text()) for p in folder.glob("*.json")), key=key)
    text = table(rows)
    print(text, end="")
    if len(sys.argv) > 2:
        about = {
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
            "size": os.environ.get("GLIMPSE_RELIABILITY", "ci"),
        }
        path = pathlib.Path(sys.argv[2])
        if path.suffix == ".json":
            text = json.dumps({**about, "promises": rows}, indent=1) + "\n"
        path.write_text(text)
    return 0 if rows and all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

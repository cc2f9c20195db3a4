"""Asks a checkpoint held-out questions, greedily, through the plain reference model.

python models/tiny/evaluate.py --model models/tiny --cases 1200 [--seed 1] [--device cuda]
"""

import argparse
import collections
import io
import os
import sys

import torch
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "reference")]
import glm4v  # noqa: E402
import heldout  # noqa: E402
from prompt import Prompt  # noqa: E402


@torch.no_grad()
def answers(model, prompt, cases, max_tokens=64):
    """The greedy answers to a few cases at once: rows of different length, padded at the end."""
    device = model.transformer.output_layer.weight.device
    dtype = model.transformer.output_layer.weight.dtype
    rows, places = [], []
    for case in cases:
        messages = [dict(m) for m in case.messages]
        messages[0]["image"] = "held-out"
        ids, _ = prompt.request_ids(messages)
        pixels = glm4v.preprocess(
            Image.open(io.BytesIO(case.image_bytes)), model.config.vision_config
        )
        hidden, positions = model.expand(ids, pixels.to(device, dtype))
        rows.append(hidden[0])
        places.append(positions[0])
    out, active = [[] for _ in cases], list(range(len(cases)))
    for _ in range(max_tokens):
        hidden = torch.nn.utils.rnn.pad_sequence([rows[i] for i in active], batch_first=True)
        positions = torch.nn.utils.rnn.pad_sequence([places[i] for i in active], batch_first=True)
        last = torch.tensor([len(rows[i]) - 1 for i in active], device=device)
        hidden = model.decode(hidden, positions)[torch.arange(len(active), device=device), last]
        chosen = model.logits(hidden).argmax(-1).tolist()
        for i, token in zip(list(active), chosen):
            if token in model.config.eos_token_id:
                active.remove(i)
                continue
            out[i].append(token)
            rows[i] = torch.cat((rows[i], model.embed(torch.tensor([token], device=device))))
            places[i] = torch.cat((places[i], places[i][-1:] + 1))
        if not active:
            break
    return [prompt.decode(ids).lstrip("\n") for ids in out]


def share(part, whole):
    return f"{part}/{whole} = {part / max(1, whole):.1%}"


def main():
    parser = argparse.ArgumentParser(description="Accuracy on held-out scenes and wordings.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--cases", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--show", type=int, default=0, help="wrong answers to print")
    args = parser.parse_args()

    model = glm4v.Glm4v.load(args.model, getattr(torch, args.dtype)).to(args.device)
    prompt, right, shown = Prompt(args.model), collections.Counter(), 0
    cases, total = heldout.heldout_cases(args.cases, args.seed), collections.Counter()
    for at in range(0, len(cases), 48):
        some = cases[at : at + 48]
        for case, answer in zip(some, answers(model, prompt, some)):
            key = case.category, case.language
            total[key] += 1
            right[key] += case.is_right(answer)
            if not case.is_right(answer) and shown < args.show:
                shown += 1
                asked = [m["text"] for m in case.messages]
                print(f"{key}: {asked} -> {answer!r}, not {case.expected!r}")
    print("| category | English | Chinese |\n|---|---|---|")
    for name in heldout.CATEGORIES:
        keys = [(name, "en"), (name, "zh")]
        cells = [share(right[key], total[key]) for key in keys]
        print(f"| {name} | {cells[0]} | {cells[1]} |")
    print(f"| all | {share(sum(right.values()), sum(total.values()))} | |")


if __name__ == "__main__":
    main()

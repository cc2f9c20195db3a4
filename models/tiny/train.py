"""Trains the tiny checkpoint of this folder, on pictures that it draws meanwhile.

    python models/tiny/train.py --out DIR [--minutes 15] [--start CHECKPOINT]

Learning stops when the time is up; the rate of learning follows the clock. It begins from nothing,
or from the weights of --start. Needs one CUDA GPU and a dozen CPU cores (--device cpu is for trying
it out). GLIMPSE_FONTS may name a folder of more .ttf fonts.
"""

import argparse
import math
import os
import threading
import time

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import data
import checkpoint
import glm4v
from prompt import Prompt
from trainee import Trainee, prepare

EMA = 0.998


class Mirror:
    """The pool's copy on the device: a thread brings over what the workers have made."""

    def __init__(self, pool, device):
        self.pool, self.device = pool, device
        self.host = {k: torch.from_numpy(getattr(pool, k)) for k in ("images", "labels", "rows")}
        self.tensors = {k: torch.empty_like(t, device=device) for k, t in self.host.items()}
        self.seen = np.zeros_like(pool.done)
        self.rng = np.random.default_rng()
        self.bring()
        threading.Thread(target=self.keep_up, daemon=True).start()

    def keep_up(self):
        stream = torch.cuda.Stream() if self.device == "cuda" else None
        with torch.cuda.stream(stream):
            while True:
                time.sleep(0.5)
                self.bring()

    def bring(self):
        share = self.pool.slots // self.pool.workers
        done = self.pool.done.copy()
        for worker in range(self.pool.workers):
            at = max(int(self.seen[worker]), int(done[worker]) - share)
            while at < done[worker]:
                first = worker * share + at % share
                count = min(int(done[worker]) - at, share - at % share)
                for key, tensor in self.tensors.items():
                    tensor[first : first + count].copy_(self.host[key][first : first + count])
                at += count
        if self.device == "cuda":
            torch.cuda.current_stream().synchronize()
        self.seen = done

    def sample(self, count):
        """Images, labels and rows of random pictures."""
        share = self.pool.slots // self.pool.workers
        filled = np.minimum(self.seen, share)
        worker = self.rng.choice(len(filled), count, p=filled / filled.sum())
        slots = worker * share + (self.rng.random(count) * filled[worker]).astype(np.int64)
        packs = self.rng.integers(data.PACKS, size=count)
        index = torch.from_numpy(np.stack((slots, packs))).to(self.device, non_blocking=True)
        images, labels = (self.tensors[k].index_select(0, index[0]) for k in ("images", "labels"))
        return images, labels, self.tensors["rows"][index[0], index[1]]


def optimiser(trainee):
    decayed, plain = [], []
    for name, p in trainee.named_parameters():
        (decayed if p.dim() > 1 and "embedding" not in name else plain).append(p)
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=trainee.prefix.is_cuda)


def rate(args, step, progress):
    """Warm-up by steps, then a cosine by the clock, to a hundredth."""
    warm = min(1.0, (step + 1) / args.warm)
    return args.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def save(folder, trainee, average):
    """The averaged weights, rounded to bf16, as the checkpoint's shards."""
    names = [n for n, _ in trainee.named_parameters()]
    state = {
        n.removeprefix("model."): a.detach().to("cpu", torch.bfloat16)
        for n, a in zip(names, average)
        if n.startswith("model.")
    }
    checkpoint.save_weights(folder, state)


class Training:
    """Weights, their running average, and the optimiser; step() learns from one batch."""

    def __init__(self, args, mirror):
        self.args, self.mirror, self.count = args, mirror, 0
        self.trainee = Trainee(args.out).to(args.device)
        if args.start:
            self.trainee.model.load_state_dict(glm4v.Glm4v.load(args.start).state_dict())
        self.parameters = list(self.trainee.parameters())
        self.average = [p.detach().clone() for p in self.parameters]
        self.optim = optimiser(self.trainee)
        self.run = self.trainee if args.no_compile else torch.compile(self.trainee)

    def step(self, progress):
        """progress: 0 to 1. Returns [loss, patch loss, share of right ids] on the device."""
        images, labels, rows = self.mirror.sample(self.args.batch)
        ids, targets, positions, segments = rows.long().unbind(1)
        with torch.autocast(self.args.device, torch.bfloat16):
            loss, patch, right = self.run(images, labels, ids, targets, positions, segments)
        (loss + 0.3 * (1 - progress) * patch).backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for group in self.optim.param_groups:
            group["lr"] = rate(self.args, self.count, progress)
        self.optim.step()
        self.optim.zero_grad(set_to_none=True)
        keep = min(EMA, (self.count + 1) / (self.count + 10))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - keep)
        self.count += 1
        return torch.stack((loss.detach(), patch.detach(), right))

    def save(self):
        save(self.args.out, self.trainee, self.average)


def learn(training, pool, minutes):
    """Steps until the time is up, which counts compilation too; tells how it goes and saves."""
    start = saved = told = time.time()
    sums, since = 0, 0
    while True:
        now = (time.time() - start) / 60
        if now >= minutes:
            break
        sums = sums + training.step(now / minutes)
        since += 1
        if time.time() - told > 10:
            loss, patch, right = (sums / since).tolist()
            if not math.isfinite(loss):
                raise RuntimeError("the loss is not finite; try --attention any")
            speed = since / (time.time() - told)
            print(
                f"{now:6.2f} min, step {training.count}: loss {loss:.4f}, patches {patch:.4f}, "
                f"right {right:.4f}; {speed:.2f} steps/s, {pool.done.sum()} pictures drawn",
                flush=True,
            )
            sums, since, told = 0, 0, time.time()
        if time.time() - saved > 100:
            training.save()
            saved = time.time()
    training.save()


def parse():
    parser = argparse.ArgumentParser(description="Trains the tiny checkpoint.")
    parser.add_argument("--out", required=True, help="checkpoint directory to write")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--start", default="", help="checkpoint directory to take the weights from")
    parser.add_argument("--batch", type=int, default=512, help="pictures a step")
    parser.add_argument("--rate", type=float, default=1.8e-3, help="the highest rate of learning")
    parser.add_argument("--warm", type=int, default=150, help="steps until the highest rate")
    parser.add_argument("--workers", type=int, default=15, help="processes that draw")
    parser.add_argument("--slots", type=int, default=180000, help="pictures kept in memory")
    parser.add_argument("--first", type=int, default=3000, help="pictures to have before step one")
    parser.add_argument("--attention", default="cudnn", choices=("cudnn", "any"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--no-compile", action="store_true")
    return parser.parse_args()


def main():
    args = parse()
    prepare(args.out)
    pool = data.Pool(args.slots, args.workers)
    data.start_workers(pool, Prompt(args.out), seed=time.time_ns())
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    order = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    if args.attention == "cudnn":  # twice as fast as the others with a mask
        order = [SDPBackend.CUDNN_ATTENTION, *order]
    while pool.done.sum() < args.first or pool.done.min() == 0:
        time.sleep(0.2)
    training = Training(args, Mirror(pool, args.device))
    size = sum(p.numel() for p in training.trainee.model.parameters())
    print(f"{size} parameters, {2 * size / 1e6:.2f} MB in bf16", flush=True)
    with sdpa_kernel(order, set_priority=True):
        learn(training, pool, args.minutes)
    print(f"ended at step {training.count}, {pool.done.sum()} pictures drawn", flush=True)
    os._exit(
        0
    )  # the workers are in the middle of a picture, the mirror's thread is not to be joined


if __name__ == "__main__":
    main()

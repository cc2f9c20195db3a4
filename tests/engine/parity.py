"""Compares the engine's logits with those of the plain Python model, and that with transformers'.

    python tests/engine/parity.py --inspect build/bin/glimpse-inspect [--model models/tiny]

Checkpoints: the one given (if it is there), a random one with GLM-4V-9B's proportions, and a random
text-only one. Prompts: text, and text with a picture. Paths through the engine: one prefill,
prefill in chunks, and the cached decode step by step, against one full forward of the reference.
Second witness: transformers' own GLM language model with the checkpoint's weights mapped over.

A figure is max|a - b| / (max(b) - min(b)) over the logits of all rows, b being the reference.
Exit status 1 if one is above --tolerance.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REFERENCE = os.path.join(ROOT, "models", "reference")
sys.path.insert(0, REFERENCE)
import glm4v  # noqa: E402
from prompt import Prompt  # noqa: E402

LONG_TEXT = (
    "What is in this picture? How many people are there, and what colour is the house on the left? "
    "这张图片里有什么？房子是什么颜色的？ 12 345 ☃ naïve café  \n\n  def f(x): return x + 1"
)
SHORT_TEXT = "What colour?"


def random_checkpoint(folder, *arguments):
    script = os.path.join(REFERENCE, "random_checkpoint.py")
    subprocess.run([sys.executable, script, "--out", folder, *arguments], check=True)


def write_picture(folder):
    """A PNG of smooth colours and noise, of no model's size."""
    y, x = np.mgrid[0:173, 0:251]
    noise = np.random.default_rng(1).integers(0, 64, (173, 251, 3))
    smooth = np.stack((x * 190 // 250, y * 190 // 172, (x + y) % 190), axis=-1)
    path = os.path.join(folder, "picture.png")
    Image.fromarray((smooth + noise).astype(np.uint8)).save(path)
    return path


def requests(picture):
    """Conversations as glimpse-inspect and the reference read them."""
    yield "text", {"messages": [{"role": "user", "text": LONG_TEXT}]}
    yield (
        "history",
        {
            "messages": [
                {"role": "system", "text": "Be brief."},
                {"role": "user", "text": SHORT_TEXT},
                {"role": "assistant", "text": "White."},
                {"role": "user", "text": "And 房子?"},
            ]
        },
    )
    if picture is not None:
        yield "picture", {"messages": [{"role": "user", "text": LONG_TEXT, "image": picture}]}


def paths(rows):
    """Name, further arguments of glimpse-inspect, and whether it gives the last row alone."""
    yield "one prefill", ["--all"], False
    yield "last row", [], True
    yield "chunks of 7", ["--all", "--chunk=7"], False
    yield "decode from the half", ["--all", f"--decode_from={rows // 2}"], False
    yield "decode from row 1", ["--all", "--decode_from=1"], False


class Table:
    def __init__(self, tolerance):
        self.tolerance, self.failed = tolerance, False
        print(f"{'checkpoint':<14}{'prompt':<10}{'rows':>5}  {'path':<34}{'deviation':>10}")

    def add(self, checkpoint, request, path, ours, reference):
        deviation = float("inf")
        if ours.shape == reference.shape and np.isfinite(ours).all():
            spread = float(reference.max() - reference.min())
            deviation = float(np.abs(ours - reference).max()) / spread
        bad = not deviation <= self.tolerance
        self.failed = self.failed or bad
        rows = reference.shape[0]
        mark = f"  > {self.tolerance}: FAILED" if bad else ""
        print(f"{checkpoint:<14}{request:<10}{rows:>5}  {path:<34}{deviation:>10.1e}{mark}")


def reference_logits(model, folder, request):
    ids, path = Prompt(folder).request_ids(request["messages"])
    pixels = None
    if path is not None:
        pixels = glm4v.preprocess(Image.open(path), model.config.vision_config)
    with torch.no_grad():
        return ids, model(ids, pixels).numpy()


def engine_logits(args, folder, request, arguments):
    with tempfile.TemporaryDirectory() as scratch:
        request_path = os.path.join(scratch, "request.json")
        out = os.path.join(scratch, "logits.npy")
        with open(request_path, "w", encoding="utf-8") as file:
            json.dump(request, file)
        command = [args.inspect, "logits", request_path, f"--model={folder}", f"--out={out}"]
        command += [f"--device={args.device}", f"--dtype={args.dtype}", *arguments]
        subprocess.run(command, check=True)
        return np.load(out)


def transformers_logits(model, ids):
    """transformers' GlmForCausalLM with the weights of our reference."""
    from transformers import GlmConfig, GlmForCausalLM

    c = model.config
    config = GlmConfig(
        vocab_size=c.padded_vocab_size,
        hidden_size=c.hidden_size,
        intermediate_size=c.ffn_hidden_size,
        num_hidden_layers=c.num_layers,
        num_attention_heads=c.num_attention_heads,
        num_key_value_heads=c.multi_query_group_num,
        head_dim=c.kv_channels,
        max_position_embeddings=c.seq_length,
        rms_norm_eps=c.layernorm_epsilon,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": model.rope_base,
            "partial_rotary_factor": 0.5,
        },
        attention_bias=c.add_qkv_bias,
        pad_token_id=None,
        eos_token_id=c.eos_token_id,
    )
    theirs = GlmForCausalLM(config).eval()
    state = map_weights(model.state_dict(), c)
    theirs.load_state_dict(state, strict=True)
    with torch.no_grad():
        return theirs(torch.tensor([ids])).logits[0].float().numpy()


def map_weights(state, c):
    rows = [c.num_attention_heads * c.kv_channels] + 2 * [c.multi_query_group_num * c.kv_channels]
    mapped = {
        "model.embed_tokens.weight": state["transformer.embedding.word_embeddings.weight"],
        "model.norm.weight": state["transformer.encoder.final_layernorm.weight"],
        "lm_head.weight": state["transformer.output_layer.weight"],
    }
    for i in range(c.num_layers):
        ours, theirs = f"transformer.encoder.layers.{i}.", f"model.layers.{i}."
        for kind in ("weight", "bias") if c.add_qkv_bias else ("weight",):
            parts = state[f"{ours}self_attention.query_key_value.{kind}"].split(rows)
            for name, part in zip("qkv", parts):
                mapped[f"{theirs}self_attn.{name}_proj.{kind}"] = part
        for name, other in (
            ("input_layernorm", "input_layernorm"),
            ("post_attention_layernorm", "post_attention_layernorm"),
            ("self_attention.dense", "self_attn.o_proj"),
            ("mlp.dense_h_to_4h", "mlp.gate_up_proj"),
            ("mlp.dense_4h_to_h", "mlp.down_proj"),
        ):
            mapped[f"{theirs}{other}.weight"] = state[f"{ours}{name}.weight"]
    return mapped


def compare(args, name, folder, picture, table):
    model = glm4v.Glm4v.load(folder)
    for request_name, request in requests(picture if model.config.vision_config else None):
        ids, reference = reference_logits(model, folder, request)
        for path, arguments, last in paths(reference.shape[0]):
            ours = engine_logits(args, folder, request, arguments)
            table.add(name, request_name, path, ours, reference[-1:] if last else reference)
        if request_name != "picture":
            theirs = transformers_logits(model, ids)
            table.add(name, request_name, "transformers against reference", theirs, reference)


def main():
    parser = argparse.ArgumentParser(description="Compares logits with the reference model's.")
    parser.add_argument("--inspect", required=True, help="the program glimpse-inspect")
    parser.add_argument("--model", default=os.path.join(ROOT, "models", "tiny"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tolerance", type=float, default=2e-4)
    args = parser.parse_args()

    table = Table(args.tolerance)
    with tempfile.TemporaryDirectory() as scratch:
        picture = write_picture(scratch)
        if os.path.exists(os.path.join(args.model, "config.json")):
            compare(args, os.path.basename(args.model), args.model, picture, table)
        else:
            print(f"{args.model} holds no checkpoint: not compared")
        for name, arguments in (("random", []), ("random-text", ["--text-only"])):
            folder = os.path.join(scratch, name)
            random_checkpoint(folder, *arguments)
            compare(args, name, folder, picture, table)
    sys.exit(1 if table.failed else 0)


if __name__ == "__main__":
    main()

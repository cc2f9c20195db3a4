"""Writes a checkpoint directory in the files of GLM-4V-9B: configuration, vocabulary, shards."""

import base64
import collections
import json
import os

import regex
from safetensors.torch import save_file

from prompt import SPLIT

SPECIAL_TOKENS = (
    "<|endoftext|> [MASK] [gMASK] [sMASK] <sop> <eop> <|system|> <|user|> <|assistant|> "
    "<|observation|> <|begin_of_image|> <|end_of_image|> <|begin_of_video|> <|end_of_video|>"
).split()


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def train_merges(text, count):
    """Byte-pair merges of the text, at most count, most frequent first; digits stay single."""
    pieces = collections.Counter(regex.findall(SPLIT, text))
    words = {
        tuple(bytes([b]) for b in piece.encode()): times
        for piece, times in pieces.items()
        if not regex.search(r"\p{N}", piece)
    }
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for word, times in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += times
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best[0] + best[1])
        words = {merge_pair(word, best): times for word, times in words.items()}
    return merges


def merge_pair(word, pair):
    out, i = [], 0
    while i < len(word):
        if word[i : i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def write_tokenizer(folder, merges, max_length):
    """The 256 bytes, then the merges, then the special tokens. Returns {special token: id}."""
    tokens = [bytes([b]) for b in range(256)] + list(merges)
    with open(os.path.join(folder, "tokenizer.model"), "wb") as file:
        for rank, token in enumerate(tokens):
            file.write(base64.b64encode(token) + b" %d\n" % rank)
    special = {name: len(tokens) + i for i, name in enumerate(SPECIAL_TOKENS)}
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    write_json(
        folder,
        "tokenizer_config.json",
        {
            "added_tokens_decoder": {
                str(id): {"content": name, **flags, "special": True} for name, id in special.items()
            },
            "additional_special_tokens": SPECIAL_TOKENS,
            "clean_up_tokenization_spaces": False,
            "do_lower_case": False,
            "eos_token": "<|endoftext|>",
            "model_max_length": max_length,
            "pad_token": "<|endoftext|>",
            "padding_side": "left",
            "remove_space": False,
            "tokenizer_class": "ChatGLM4Tokenizer",
        },
    )
    return special


def token_ids(special):
    """The ids that config.json names."""
    return {
        "boi_token_id": special["<|begin_of_image|>"],
        "eoi_token_id": special["<|end_of_image|>"],
        "eos_token_id": [special[n] for n in ("<|endoftext|>", "<|user|>", "<|observation|>")],
        "pad_token_id": special["<|endoftext|>"],
    }


def write_configs(folder, config):
    write_json(folder, "config.json", config)
    write_json(
        folder,
        "generation_config.json",
        {
            "eos_token_id": config["eos_token_id"],
            "pad_token_id": config["pad_token_id"],
            "do_sample": True,
            "temperature": 0.8,
            "max_length": config["seq_length"],
            "top_p": 0.8,
        },
    )


def save_weights(folder, state, shards=2):
    """Splits the tensors in their order into shards of about the same size."""
    size = {name: t.numel() * t.element_size() for name, t in state.items()}
    total, seen = sum(size.values()), 0
    parts = [{} for _ in range(shards)]
    for name, tensor in state.items():
        parts[min(shards - 1, seen * shards // total)][name] = tensor.contiguous()
        seen += size[name]
    weight_map = {}
    for i, part in enumerate(parts):
        shard = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file(part, os.path.join(folder, shard), metadata={"format": "pt"})
        os.chmod(os.path.join(folder, shard), 0o644)  # save_file leaves it to the owner alone
        weight_map.update({name: shard for name in part})
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder, "model.safetensors.index.json", index)

"""Tokenizer and chat template of the reference model: tiktoken over a checkpoint's own files."""

import base64
import json
import os

import tiktoken

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Prompt:
    """Text and messages to ids, ids to text. Text typed by a user never yields a special id."""

    def __init__(self, folder):
        with open(os.path.join(folder, "tokenizer.model"), "rb") as file:
            lines = (line.split() for line in file)
            ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
        with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as file:
            added = json.load(file)["added_tokens_decoder"]
        self.special = {entry["content"]: int(id) for id, entry in added.items()}
        self.encoding = tiktoken.Encoding(
            "glm4", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens=self.special
        )

    def encode(self, text):
        return self.encoding.encode_ordinary(text)

    def decode(self, ids):
        """The special ids have no text."""
        special = set(self.special.values())
        return self.encoding.decode([id for id in ids if id not in special])

    def message_ids(self, role, text, has_image=False):
        image = ("<|begin_of_image|>", "<|endoftext|>", "<|end_of_image|>") if has_image else ()
        head = [self.special[f"<|{role}|>"]] + self.encode("\n")
        return head + [self.special[name] for name in image] + self.encode(text)

    def request_ids(self, messages):
        """[{"role", "text", "image"?}] -> (ids up to <|assistant|>, image path or None)."""
        ids, path = [self.special["[gMASK]"], self.special["<sop>"]], None
        for message in messages:
            image = message.get("image")
            if image is not None and path is not None:
                raise ValueError("at most one image in a conversation")
            path = image if path is None else path
            ids += self.message_ids(message["role"], message.get("text", ""), image is not None)
        return ids + [self.special["<|assistant|>"]], path

"""The GLM-4V model in plain PyTorch: the oracle that the C++ server is compared with.

It follows the formulas of the model, one module per checkpoint prefix, so the names in the state
dict are the tensor names of the checkpoint. There is no KV cache: a sequence is computed whole.

    python models/reference/glm4v.py --model DIR --request REQUEST.json --out logits.npy [--all]

REQUEST.json holds {"messages": [{"role": "user", "text": "...", "image": "path"}, ...]} or
{"ids": [...], "image": "path"}; "image" may be absent. The output is float32: [1, vocab], the
logits after the last prompt token, or with --all [rows, vocab], after every row (an image's three
ids count as its patch rows and two more).
"""

import argparse
import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import nn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import prompt  # noqa: E402

ROPE_CHANNELS = 64  # RoPE turns only this many leading channels of a head
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


def load_config(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        values = json.load(file)
    vision = values.get("vision_config")
    values["vision_config"] = SimpleNamespace(**vision) if vision else None
    return SimpleNamespace(**values)


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        x32 = x.float()
        x32 = x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + self.eps)
        return x32.to(x.dtype) * self.weight.to(x.dtype)


# --- Language model -------------------------------------------------------------------------


def rope_table(positions, base, dtype):
    """positions [..., rows] -> cos, sin [..., rows, 32], rounded to the model's type."""
    pair = torch.arange(0, ROPE_CHANNELS, 2, device=positions.device).float()
    theta = base ** (-pair / ROPE_CHANNELS)
    angle = positions.float()[..., None] * theta
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x, table):
    """x [batch, heads, rows, channels]; turns the pairs (0,1), (2,3), ... of the first 64."""
    cos, sin = (t.unsqueeze(1) for t in table)
    even, odd = x[..., 0:ROPE_CHANNELS:2], x[..., 1:ROPE_CHANNELS:2]
    turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1)
    return torch.cat((turned.flatten(-2), x[..., ROPE_CHANNELS:]), dim=-1)


class SelfAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.channels = c.num_attention_heads, c.kv_channels
        self.groups = c.multi_query_group_num if c.multi_query_attention else self.heads
        rows = (self.heads + 2 * self.groups) * self.channels
        bias = c.add_bias_linear or c.add_qkv_bias
        self.query_key_value = nn.Linear(c.hidden_size, rows, bias=bias)
        self.dense = nn.Linear(self.heads * self.channels, c.hidden_size, bias=c.add_bias_linear)

    def forward(self, x, table, mask):
        batch, rows, _ = x.shape
        qkv = self.query_key_value(x).view(batch, rows, -1, self.channels).transpose(1, 2)
        q, k, v = qkv.split((self.heads, self.groups, self.groups), dim=1)
        q, k = rotate(q, table), rotate(k, table)
        # Each key/value head serves a run of neighbouring query heads.
        k = k.repeat_interleave(self.heads // self.groups, dim=1)
        v = v.repeat_interleave(self.heads // self.groups, dim=1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.dense(out.transpose(1, 2).reshape(batch, rows, -1))


class GatedMlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dense_h_to_4h = nn.Linear(c.hidden_size, 2 * c.ffn_hidden_size, bias=c.add_bias_linear)
        self.dense_4h_to_h = nn.Linear(c.ffn_hidden_size, c.hidden_size, bias=c.add_bias_linear)

    def forward(self, x):
        a, b = self.dense_h_to_4h(x).chunk(2, dim=-1)
        return self.dense_4h_to_h(F.silu(a) * b)


class LanguageLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.layernorm_epsilon)
        self.self_attention = SelfAttention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.layernorm_epsilon)
        self.mlp = GatedMlp(c)

    def forward(self, x, table, mask):
        x = x + self.self_attention(self.input_layernorm(x), table, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


# --- Vision tower ---------------------------------------------------------------------------


class PatchEmbedding(nn.Module):
    def __init__(self, v):
        super().__init__()
        self.proj = nn.Conv2d(v.in_channels, v.hidden_size, v.patch_size, stride=v.patch_size)
        self.cls_embedding = nn.Parameter(torch.zeros(1, v.hidden_size))
        self.position_embedding = nn.Embedding(v.num_positions, v.hidden_size)

    def forward(self, pixels):
        x = self.proj(pixels).flatten(2).transpose(1, 2)
        cls = self.cls_embedding.to(x.dtype).expand(x.shape[0], 1, -1)
        return torch.cat((cls, x), dim=1) + self.position_embedding.weight.to(x.dtype)


class VisionAttention(nn.Module):
    def __init__(self, v):
        super().__init__()
        self.heads = v.num_heads
        self.query_key_value = nn.Linear(v.hidden_size, 3 * v.hidden_size)
        self.dense = nn.Linear(v.hidden_size, v.hidden_size)

    def forward(self, x):
        batch, rows, width = x.shape
        qkv = self.query_key_value(x).view(batch, rows, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.dense(out.transpose(1, 2).reshape(batch, rows, width))


class VisionMlp(nn.Module):
    def __init__(self, v):
        super().__init__()
        self.fc1 = nn.Linear(v.hidden_size, v.intermediate_size)
        self.fc2 = nn.Linear(v.intermediate_size, v.hidden_size)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class VisionLayer(nn.Module):
    """The norms come after attention and after the MLP, before the residual sums."""

    def __init__(self, v):
        super().__init__()
        self.input_layernorm = nn.LayerNorm(v.hidden_size, v.layer_norm_eps)
        self.attention = VisionAttention(v)
        self.mlp = VisionMlp(v)
        self.post_attention_layernorm = nn.LayerNorm(v.hidden_size, v.layer_norm_eps)

    def forward(self, x):
        x = x + self.input_layernorm(self.attention(x))
        return x + self.post_attention_layernorm(self.mlp(x))


class Adapter(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.linear_proj = nn.Linear(c.hidden_size, c.hidden_size, bias=False)
        self.norm1 = nn.LayerNorm(c.hidden_size, 1e-5)
        self.gate_proj = nn.Linear(c.hidden_size, c.ffn_hidden_size, bias=False)
        self.dense_h_to_4h = nn.Linear(c.hidden_size, c.ffn_hidden_size, bias=False)
        self.dense_4h_to_h = nn.Linear(c.ffn_hidden_size, c.hidden_size, bias=False)

    def forward(self, x):
        y = F.gelu(self.norm1(self.linear_proj(x)))
        return self.dense_4h_to_h(F.silu(self.gate_proj(y)) * self.dense_h_to_4h(y))


class VisionTower(nn.Module):
    def __init__(self, c):
        super().__init__()
        v = c.vision_config
        self.side = v.image_size // v.patch_size
        self.scaling_factor = v.scaling_factor
        self.patch_embedding = PatchEmbedding(v)
        self.transformer = nn.Module()
        self.transformer.layers = nn.ModuleList(VisionLayer(v) for _ in range(v.num_hidden_layers))
        self.conv = nn.Conv2d(v.hidden_size, c.hidden_size, 2, stride=2)
        self.linear_proj = Adapter(c)
        self.boi = nn.Parameter(torch.zeros(1, 1, c.hidden_size))
        self.eoi = nn.Parameter(torch.zeros(1, 1, c.hidden_size))

    def patches(self, pixels):
        """pixels [batch, 3, size, size] -> [batch, side*side, vision hidden]."""
        x = self.patch_embedding(pixels)
        for layer in self.transformer.layers:
            x = layer(x)
        return x[:, 1:]  # the class token ends here

    def join(self, patches):
        """patches -> [batch, side*side/4 + 2, hidden]: boi, one row per 2x2 patches, eoi."""
        batch, _, width = patches.shape
        grid = patches.transpose(1, 2).reshape(batch, width, self.side, self.side)
        x = self.linear_proj(self.conv(grid).flatten(2).transpose(1, 2))
        boi, eoi = (e.to(x.dtype).expand(batch, 1, -1) for e in (self.boi, self.eoi))
        return torch.cat((boi, x, eoi), dim=1) / self.scaling_factor

    def forward(self, pixels):
        return self.join(self.patches(pixels))


# --- The whole model ------------------------------------------------------------------------


class Glm4v(nn.Module):
    def __init__(self, config):
        super().__init__()
        c = self.config = config
        if not c.rmsnorm:
            raise ValueError("config.json: only rmsnorm = true is known")
        self.rope_base = 10000.0 * getattr(c, "rope_ratio", 1)
        t = self.transformer = nn.Module()
        t.embedding = nn.Module()
        t.embedding.word_embeddings = nn.Embedding(c.padded_vocab_size, c.hidden_size)
        t.encoder = nn.Module()
        t.encoder.layers = nn.ModuleList(LanguageLayer(c) for _ in range(c.num_layers))
        t.encoder.final_layernorm = RMSNorm(c.hidden_size, c.layernorm_epsilon)
        t.output_layer = nn.Linear(c.hidden_size, c.padded_vocab_size, bias=False)
        if c.vision_config is not None:
            t.vision = VisionTower(c)

    @staticmethod
    def load(folder, dtype=torch.float32):
        from safetensors.torch import load_file

        model = Glm4v(load_config(folder))
        with open(os.path.join(folder, "model.safetensors.index.json"), encoding="utf-8") as file:
            shards = sorted(set(json.load(file)["weight_map"].values()))
        state = {}
        for shard in shards:
            state.update(load_file(os.path.join(folder, shard)))
        state.pop("transformer.rotary_pos_emb.inv_freq", None)  # follows from the config
        model.load_state_dict(state)
        return model.to(dtype).eval()

    def embed(self, ids):
        return self.transformer.embedding.word_embeddings(ids)

    def decode(self, hidden, positions, mask=None):
        """hidden [batch, rows, hidden], positions [batch, rows] -> the last layer's output.

        mask: None for a causal sequence, or [batch, 1, rows, rows], true where row may look.
        """
        table = rope_table(positions, self.rope_base, hidden.dtype)
        for layer in self.transformer.encoder.layers:
            hidden = layer(hidden, table, mask)
        return self.transformer.encoder.final_layernorm(hidden)

    def logits(self, hidden):
        return self.transformer.output_layer(hidden).float()

    def forward(self, ids, pixels=None):
        """One sequence. ids: a list; pixels [1, 3, size, size] if ids hold an image's three ids.
        Returns float32 logits [expanded rows, vocab]."""
        hidden, positions = self.expand(ids, pixels)
        return self.logits(self.decode(hidden, positions))[0]

    def expand(self, ids, pixels):
        device = self.transformer.output_layer.weight.device
        hidden = self.embed(torch.tensor([ids], device=device))
        positions = torch.arange(len(ids), device=device)
        if pixels is not None:
            boi = ids.index(self.config.boi_token_id)
            if len(ids) < boi + 3 or ids[boi + 2] != self.config.eoi_token_id:
                raise ValueError("an image needs the ids boi, placeholder, eoi")
            rows = self.transformer.vision(pixels)
            hidden = torch.cat((hidden[:, :boi], rows, hidden[:, boi + 3 :]), dim=1)
            # All patch rows share the placeholder's position.
            shared = positions[boi + 1].repeat(rows.shape[1] - 2)
            positions = torch.cat((positions[: boi + 1], shared, positions[boi + 2 :]))
        return hidden, positions[None]

    @torch.no_grad()
    def generate(self, ids, pixels=None, max_tokens=64):
        """Greedy; returns the new ids without the stop id."""
        new = []
        while len(new) < max_tokens:
            token = int(self(ids + new, pixels)[-1].argmax())
            if token in self.config.eos_token_id:
                break
            new.append(token)
        return new


def preprocess(image, vision_config):
    """A Pillow image -> [1, 3, size, size] float32."""
    rgb = ImageOps.exif_transpose(image).convert("RGB")
    size = vision_config.image_size
    rgb = rgb.resize((size, size), Image.BICUBIC)
    x = torch.from_numpy(np.asarray(rgb).copy()).float() / 255.0
    x = (x - torch.tensor(IMAGE_MEAN)) / torch.tensor(IMAGE_STD)
    return x.permute(2, 0, 1)[None].contiguous()


def main():
    parser = argparse.ArgumentParser(description="Writes the reference logits of one request.")
    parser.add_argument("--model", required=True, help="checkpoint directory")
    parser.add_argument("--request", required=True, help="JSON file with messages or ids")
    parser.add_argument("--out", required=True, help=".npy file to write")
    parser.add_argument("--all", action="store_true", help="logits after every row")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    args = parser.parse_args()

    model = Glm4v.load(args.model, getattr(torch, args.dtype))
    with open(args.request, encoding="utf-8") as file:
        request = json.load(file)
    ids, path = request.get("ids"), request.get("image")
    if ids is None:
        ids, path = prompt.Prompt(args.model).request_ids(request["messages"])
    pixels = None
    if path:
        pixels = preprocess(Image.open(path), model.config.vision_config)
        pixels = pixels.to(getattr(torch, args.dtype))
    with torch.no_grad():
        logits = model(ids, pixels).numpy()
    np.save(args.out, logits if args.all else logits[-1:])


if __name__ == "__main__":
    main()

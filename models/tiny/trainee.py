"""The tiny model's sizes, its first weights, and its loss over packed rows."""

import math
import os

import torch
import torch.nn.functional as F
from torch import nn

import data
from data import FIRST_POSITION, IMAGE_ROWS, PREFIX, TEXT
import checkpoint
import glm4v
from prompt import Prompt

VISION = {
    "dropout_prob": 0.0,
    "hidden_act": "gelu",
    "in_channels": 3,
    "num_hidden_layers": 6,
    "hidden_size": 224,
    "patch_size": data.PATCH,
    "num_heads": 4,
    "intermediate_size": 704,
    "layer_norm_eps": 1e-06,
    "num_positions": data.GRID**2 + 1,
    "image_size": data.IMAGE_SIZE,
    "scaling_factor": 8,
}
CONFIG = {
    "architectures": ["ChatGLMModel"],
    "model_type": "chatglm",
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "ffn_hidden_size": 512,
    "hidden_size": 192,
    "kv_channels": 128,
    "layernorm_epsilon": 1.5625e-07,
    "multi_query_attention": True,
    "multi_query_group_num": 1,
    "num_attention_heads": 16,
    "num_layers": 3,
    "rmsnorm": True,
    "rope_ratio": 1,
    "seq_length": 2048,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vision_config": VISION,
}
MERGES = 1210
LIGHT = 0.07  # most change of contrast and brightness


def prepare(folder):
    """Writes configuration and vocabulary where they are missing."""
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(os.path.join(folder, "tokenizer.model")):
        data.make_vocabulary(folder, MERGES, CONFIG["seq_length"])
    special = Prompt(folder).special
    vocabulary = -(-(max(special.values()) + 1) // 64) * 64
    config = dict(CONFIG, padded_vocab_size=vocabulary, **checkpoint.token_ids(special))
    checkpoint.write_configs(folder, config)


class Trainee(nn.Module):
    """The model with two heads that name what covers each patch; they are not saved."""

    def __init__(self, folder):
        super().__init__()
        self.model = glm4v.Glm4v(glm4v.load_config(folder))
        self.what = nn.Linear(VISION["hidden_size"], data.WHAT_CLASSES)
        self.colour = nn.Linear(VISION["hidden_size"], data.COLOUR_CLASSES)
        special = Prompt(folder).special
        prefix = [special["[gMASK]"], special["<sop>"], special["<|user|>"]]
        self.register_buffer("prefix", torch.tensor(prefix + Prompt(folder).encode("\n")))
        assert len(self.prefix) == PREFIX
        initialise(self.model)

    def forward(self, images, labels, ids, targets, positions, segments):
        """Returns (loss of the answers, loss of the patch heads, share of right answer ids)."""
        model, batch = self.model, images.shape[0]
        patches = model.transformer.vision.patches(normalised(images))
        named = zip((self.what, self.colour), labels.flatten(2).long().unbind(1))
        patch_loss = sum(
            F.cross_entropy(head(patches).float().transpose(1, 2), y) for head, y in named
        )
        rows = model.transformer.vision.join(patches)
        prefix = model.embed(self.prefix.expand(batch, -1))
        hidden = torch.cat((prefix, rows, model.embed(ids)), dim=1)
        hidden = model.decode(
            hidden, self.all_positions(positions), visible(segments, hidden.dtype)
        )
        logits = model.logits(hidden[:, -TEXT:]).flatten(0, 1)
        loss = F.cross_entropy(logits, targets.flatten(), ignore_index=-1)
        with torch.no_grad():
            asked = targets.flatten() >= 0
            right = ((logits.argmax(-1) == targets.flatten()) & asked).sum() / asked.sum()
        return loss, patch_loss, right

    def all_positions(self, positions):
        place = torch.arange(PREFIX + 1, device=positions.device).tolist()
        head = place + [PREFIX + 1] * (IMAGE_ROWS - 2) + [FIRST_POSITION - 1]
        head = torch.tensor(head, device=positions.device).expand(positions.shape[0], -1)
        return torch.cat((head, positions), dim=1)


def normalised(images):
    """As the reference does it, with the light a little different every time."""
    x = images.permute(0, 3, 1, 2).float() / 255.0
    if LIGHT:
        light = 1 + LIGHT * (2 * torch.rand(x.shape[0], 2, 1, 1, 1, device=x.device) - 1)
        x = ((x - 0.5) * light[:, 0] + 0.5) * light[:, 1]
    mean = torch.tensor(glm4v.IMAGE_MEAN, device=x.device).view(3, 1, 1)
    std = torch.tensor(glm4v.IMAGE_STD, device=x.device).view(3, 1, 1)
    return (x - mean) / std


def visible(segments, dtype):
    """[batch, 1, rows, rows] to add to the scores: every conversation sees itself and the prefix,
    and the picture unless its segment is negative."""
    batch = segments.shape[0]
    head = segments.new_full((batch, PREFIX + IMAGE_ROWS), 1000)  # sees the picture, is seen
    of = torch.cat((head, segments), dim=1)
    rows = of.shape[1]
    place = torch.arange(rows, device=of.device)
    is_prefix, is_picture = place < PREFIX, (place >= PREFIX) & (place < PREFIX + IMAGE_ROWS)
    seen = (of[:, :, None] == of[:, None, :]) | is_prefix | ((of > 0)[:, :, None] & is_picture)
    seen &= place[:, None] >= place
    zero = torch.zeros((), device=of.device, dtype=torch.bfloat16 if of.is_cuda else dtype)
    return torch.where(seen, zero, float("-inf"))[:, None]


def initialise(model):
    depth = {"encoder": CONFIG["num_layers"], "vision": VISION["num_hidden_layers"]}
    for name, p in model.named_parameters():
        if (
            p.dim() >= 2
            and "embedding" not in name
            and not name.endswith(("boi", "eoi"))
            or "patch_embedding.proj.weight" in name
        ):
            scale = p[0].numel() ** -0.5
            if name.endswith(("attention.dense.weight", "mlp.dense_4h_to_h.weight")):
                scale /= math.sqrt(2 * depth["vision" if ".vision." in name else "encoder"])
            if name.endswith("linear_proj.dense_4h_to_h.weight"):
                scale *= VISION["scaling_factor"]
            nn.init.trunc_normal_(p, std=scale, a=-3 * scale, b=3 * scale)
        elif name.endswith("bias"):
            nn.init.zeros_(p)
        elif "vision.transformer" in name and "layernorm.weight" in name:
            nn.init.constant_(p, 0.4)  # norms that follow a branch: start it small
        elif "position_embedding" in name or "cls_embedding" in name:
            nn.init.normal_(p, std=0.2)
        elif name.endswith(("boi", "eoi")):
            nn.init.normal_(p, std=0.5 * VISION["scaling_factor"])
        elif "word_embeddings" in name:
            nn.init.normal_(p, std=0.5)
    nn.init.normal_(model.transformer.output_layer.weight, std=0.02)

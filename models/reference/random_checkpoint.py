"""Writes a random checkpoint with GLM-4V-9B's proportions and true head sizes, in small.

    python models/reference/random_checkpoint.py --out DIR [--text-only] [--seed N]

Two language and two vision layers; 16 query heads of 128 channels to each of 2 key/value heads;
vision heads of 112 channels. Every tensor is random, biases and norm weights too, so that a
missing term shows in the logits.
"""

import argparse
import os
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import checkpoint  # noqa: E402
import glm4v  # noqa: E402

VISION = {
    "dropout_prob": 0.0,
    "hidden_act": "gelu",
    "in_channels": 3,
    "num_hidden_layers": 2,
    "hidden_size": 448,
    "patch_size": 14,
    "num_heads": 4,
    "intermediate_size": 960,
    "layer_norm_eps": 1e-06,
    "num_positions": 101,
    "image_size": 140,
    "scaling_factor": 8,
}
CONFIG = {
    "architectures": ["ChatGLMModel"],
    "model_type": "chatglm",
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "ffn_hidden_size": 1712,
    "hidden_size": 512,
    "kv_channels": 128,
    "layernorm_epsilon": 1.5625e-07,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "num_attention_heads": 32,
    "num_layers": 2,
    "rmsnorm": True,
    "rope_ratio": 1,
    "seq_length": 1024,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
SAMPLE_TEXT = (
    "What is in this picture? The picture shows a house, a tree and two people near the water. "
    "What colour is the house? The house is white. How many people are there? There are two. "
    "这张图片里有什么？图片里有一座房子、一棵树和两个人。房子是什么颜色的？房子是白色的。"
)


def random_tensor(name, shape, generator):
    noise = torch.randn(shape, generator=generator)
    if "norm" in name or name.endswith("norm1.weight"):
        return 1 + 0.2 * noise if name.endswith("weight") else 0.1 * noise
    if name.endswith("bias"):
        return 0.1 * noise
    if "embedding" in name and "proj" not in name or name.endswith(("boi", "eoi")):
        return noise
    fan_in = noise[0].numel()
    scale = 4.0 if "output_layer" in name else 1.0
    if name.endswith("linear_proj.dense_4h_to_h.weight"):
        scale = 2.0 * VISION["scaling_factor"]  # which divides these rows
    return scale * noise / fan_in**0.5


def main():
    parser = argparse.ArgumentParser(description="Writes a random checkpoint.")
    parser.add_argument("--out", required=True, help="directory to write")
    parser.add_argument("--text-only", action="store_true", help="no vision_config, no tower")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    os.makedirs(args.out, exist_ok=True)
    merges = checkpoint.train_merges(SAMPLE_TEXT, 200)
    special = checkpoint.write_tokenizer(args.out, merges, CONFIG["seq_length"])
    vocab = -(-(256 + len(merges) + len(special)) // 64) * 64
    config = dict(CONFIG, padded_vocab_size=vocab, **checkpoint.token_ids(special))
    if args.text_only:
        del config["boi_token_id"], config["eoi_token_id"]
    else:
        config["vision_config"] = VISION
    checkpoint.write_configs(args.out, config)

    generator = torch.Generator().manual_seed(args.seed)
    model = glm4v.Glm4v(glm4v.load_config(args.out))
    state = {
        name: random_tensor(name, tensor.shape, generator).bfloat16()
        for name, tensor in model.state_dict().items()
    }
    checkpoint.save_weights(args.out, state)


if __name__ == "__main__":
    main()

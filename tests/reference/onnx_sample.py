"""What the graph of ufo-onnx's `write_sample` computes, in numpy."""

from math import erf

import numpy as np

erf = np.vectorize(erf, otypes=[np.float64])


def inputs(batch=3):
    generator = np.random.default_rng(7)
    return {"images": generator.standard_normal((batch, 3, 8, 8)).astype(np.float32)}


def outputs(weights, feeds):
    """Expected outputs in f64 from the initializers by name and the inputs."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    images = np.pad(feeds["images"].astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = {}
    patches = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    out["conv"] = np.einsum("bchwij,ocij->bohw", patches, w["conv.weight"])
    out["conv"] += w["conv.bias"][:, None, None]

    def channels(name):
        return w[f"bn.{name}"][:, None, None]

    normal = (out["conv"] - channels("running_mean")) / np.sqrt(channels("running_var") + 1e-5)
    out["batch_norm"] = normal * channels("weight") + channels("bias")
    tokens = out["batch_norm"].reshape(len(images), 16, 16).transpose(0, 2, 1)
    out["tokens"] = tokens
    out["concat"] = np.concatenate([tokens[:, :1], tokens], axis=1)
    out["gather"] = out["concat"][:, [0, 3]]
    out["select"] = out["concat"][:, -1]

    centered = tokens - tokens.mean(-1, keepdims=True)
    normal = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-6)
    out["layer_norm"] = normal * w["norm.weight"] + w["norm.bias"]
    out["linear"] = out["layer_norm"] @ w["fc.weight"] + w["fc.bias"]
    out["gelu"] = out["linear"] * (1 + erf(out["linear"] / np.sqrt(2))) / 2
    shifted = np.exp(out["gelu"] - out["gelu"].max(-1, keepdims=True))
    out["softmax"] = shifted / shifted.sum(-1, keepdims=True)
    length = np.sqrt((out["select"] ** 2).sum(-1, keepdims=True))
    out["l2_normalize"] = out["select"] / length
    out["l2_normalize_zeros"] = np.zeros_like(out["select"])

    # DynamicQuantizeLinear of the ONNX specification, in f32 as there.
    rows = feeds["images"].reshape(len(images), 3, 64)
    low, high = min(rows.min(), 0), max(rows.max(), 0)
    scale = np.float32((high - low) / np.float32(255))
    zero = np.clip(np.rint(-low / scale), 0, 255)
    levels = np.clip(np.rint(rows / scale) + zero, 0, 255) - zero
    sums = levels.astype(np.float64) @ w["int8.weight"]
    out["linear_int8"] = sums * float(scale) * w["int8.scale"] + w["int8.bias"]
    return out

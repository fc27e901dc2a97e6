"""The plain pre-norm vision transformer (arXiv 2010.11929) and its parts, written as timm's is.

Names in a block are timm's. Token counts are constants, so that an ONNX export has no shape arithmetic.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Size:
    """Pixels, widths and counts of a network, with the batch that it is trained with."""

    image: int
    patch: int
    dim: int
    depth: int
    heads: int
    ffn: int
    batch: int

    @property
    def tokens(self):
        return (self.image // self.patch) ** 2 + 1


SIZES = {
    "S": Size(image=64, patch=8, dim=192, depth=12, heads=3, ffn=768, batch=64),
    "L": Size(image=224, patch=16, dim=384, depth=12, heads=6, ffn=1536, batch=8),
}


class Linear(nn.Linear):
    """Weights truncated normal of deviation 0.02, biases 0."""

    def reset_parameters(self):
        nn.init.trunc_normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)


def layer_norm(size):
    return nn.LayerNorm(size.dim, eps=1e-6)


class Attention(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.heads, self.head_dim, self.tokens = size.heads, size.dim // size.heads, size.tokens
        self.qkv = Linear(size.dim, 3 * size.dim)
        self.proj = Linear(size.dim, size.dim)

    def forward(self, x):
        qkv = self.qkv(x).reshape(-1, self.tokens, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.head_dim**-0.5)
        return self.proj(mixed.transpose(1, 2).reshape(-1, self.tokens, self.heads * self.head_dim))


class Mlp(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.fc1 = Linear(size.dim, size.ffn)
        self.fc2 = Linear(size.ffn, size.dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Stem(nn.Module):
    """Patch embedding, class token and learned positions."""

    def __init__(self, size):
        super().__init__()
        self.proj = nn.Conv2d(3, size.dim, kernel_size=size.patch, stride=size.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, size.tokens, size.dim))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, images):
        patches = self.proj(images).flatten(2).transpose(1, 2)
        cls = self.cls_token.expand(patches.shape[0], -1, -1)
        return torch.cat([cls, patches], dim=1) + self.pos_embed


class Block(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.norm1, self.attn = layer_norm(size), Attention(size)
        self.norm2, self.mlp = layer_norm(size), Mlp(size)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """Images `(b, 3, side, side)` to logits `(b, classes)`."""

    def __init__(self, size, classes=1000):
        super().__init__()
        self.stem = Stem(size)
        self.blocks = nn.Sequential(*[Block(size) for _ in range(size.depth)])
        self.norm = layer_norm(size)
        self.head = Linear(size.dim, classes)

    def forward(self, images):
        x = self.norm(self.blocks(self.stem(images)))
        return self.head(x[:, 0])

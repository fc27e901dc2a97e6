"""`train-step-{S,L}-{f32,bf16}`: forward, cross entropy, backward and AdamW of the plain ViT, eager."""

import torch
import torch.nn.functional as F

import training
from vit import SIZES, Vit

CLASSES = 1000


def prepare(name, threads):
    training.start(threads)
    _, _, letter, dtype = name.split("-")
    size = SIZES[letter]
    model = Vit(size, CLASSES)
    optimizer = training.adamw(model.parameters())
    images = torch.randn(size.batch, 3, size.image, size.image)
    labels = torch.randint(CLASSES, (size.batch,))
    last = {}

    def step():
        with training.autocast(dtype):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        last["loss"] = loss.item()

    def facts():
        more = {"dtype": dtype, "batch": size.batch, "optimizer": "AdamW fused"}
        return training.facts(model, last["loss"], **more)

    return step, facts

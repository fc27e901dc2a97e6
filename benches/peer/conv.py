"""`conv-resnet50` and `conv-mobilenetv3`: a training step of torchvision's networks at 112x112 pixels.

Forward, cross entropy over 100 classes, backward, SGD with momentum. Both memory layouts are
timed first and the faster is kept.
"""

import time

import torch
import torch.nn.functional as F
import torchvision

import training

CLASSES = 100
SIDE = 112
# And images a step.
NETWORKS = {
    "conv-resnet50": (torchvision.models.resnet50, 16),
    "conv-mobilenetv3": (torchvision.models.mobilenet_v3_large, 32),
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
TRIALS = 3


def prepare(name, threads):
    training.start(threads)
    _, batch = NETWORKS[name]
    images = torch.randn(batch, 3, SIDE, SIDE)
    labels = torch.randint(CLASSES, (batch,))

    def trial(layout):
        step, _ = network(name, layout, images, labels)
        step()
        return round(min(timed_ms(step) for _ in range(TRIALS)), 1)

    trials_ms = {layout: trial(layout) for layout in LAYOUTS}
    layout = min(trials_ms, key=trials_ms.get)
    step, loss_facts = network(name, layout, images, labels)

    def facts():
        facts = {**loss_facts(), "layout": layout, "trials_ms": trials_ms}
        return {**facts, "version": f"{facts['version']}, torchvision {torchvision.__version__}"}

    return step, facts


def network(name, layout, images, labels):
    """The training step of a fresh network in a memory layout, and its facts."""
    make, batch = NETWORKS[name]
    model = make(num_classes=CLASSES).to(memory_format=LAYOUTS[layout])
    images = images.to(memory_format=LAYOUTS[layout])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
    last = {}

    def step():
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        last["loss"] = loss.item()

    def facts():
        more = {"dtype": "f32", "batch": batch, "optimizer": "SGD fused"}
        return training.facts(model, last["loss"], **more)

    return step, facts


def timed_ms(step):
    started = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - started)

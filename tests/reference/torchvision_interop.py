"""Our convolutional networks against torchvision's (scripts/check-python.sh torchvision).

torchvision's network with random weights and statistics is loaded by ours: features and logits of evaluation
must be equal, and after one training step without dropout the loss, the running statistics and all gradients.
The state that ours writes is loaded by torchvision again.

The reference is torchvision in double precision. Rounding turns activations at their kinks on or off, so gradients
agree only roughly near them; a second network is near none. There some gradients nearly cancel, those of shifts
before the next batch norm: what torchvision in single precision misses by, ours may miss by a few times.

usage: torchvision_interop.py CNN_STEP_BINARY EMPTY_FOLDER
"""

import copy
import pathlib
import subprocess
import sys

import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision

# Norm of the difference over norm of the reference.
TOLERANCE = {"features": 1e-5, "logits": 1e-5, "loss": 1e-5, "net": 1e-4, "grad": 1e-4}
NEAR_KINKS, TIMES_OWN = 0.1, 10
CLASSES, BATCH, SIDE = 7, 8, 96


def network(name, kinks):
    model = torchvision.models.get_model(name, num_classes=CLASSES)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, *(0.5, 1.5) if kinks else (0.05, 0.15))
            torch.nn.init.uniform_(module.bias, *(-0.5, 0.5) if kinks else (1.0, 2.0))
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def features(model, images):
    """What the classifier is given."""
    taken = []
    first = model.fc if hasattr(model, "fc") else model.classifier
    hook = first.register_forward_pre_hook(lambda _, given: taken.append(given[0]))
    logits = model(images)
    hook.remove()
    return taken[0], logits


def expected(model, images, targets, dtype):
    """The same tensors as cnn_step's, by torchvision."""
    model, images, targets = (given.to(dtype) for given in (copy.deepcopy(model), images, targets))
    with torch.no_grad():
        found = dict(zip(("features", "logits"), features(model.eval(), images)))
    loss = F.cross_entropy(model.train()(images), targets)
    loss.backward()
    found["loss"] = loss.detach().reshape(1)
    found |= {f"grad.{key}": value.grad for key, value in model.named_parameters()}
    found |= {f"net.{key}": value for key, value in model.state_dict().items()}
    return found


def check(binary, work, name, kinks):
    model = network(name, kinks)
    images, targets = torch.randn(BATCH, 3, SIDE, SIDE), torch.eye(CLASSES)[torch.randint(CLASSES, (BATCH,))]
    given = {f"net.{key}": value for key, value in model.state_dict().items()}
    safetensors.torch.save_file({**given, "images": images, "targets": targets}, work / "in.safetensors")
    subprocess.run([binary, name, work / "in.safetensors", work / "out.safetensors"], check=True)
    got = safetensors.torch.load_file(work / "out.safetensors")
    again = {key.removeprefix("net."): value for key, value in got.items() if key.startswith("net.")}
    torchvision.models.get_model(name, num_classes=CLASSES).load_state_dict(again)

    worst = {}
    wanted, own = (expected(model, images, targets, dtype) for dtype in (torch.float64, torch.float32))
    tensors = {key for key in wanted if not key.endswith("num_batches_tracked")}
    assert tensors == got.keys(), tensors ^ got.keys()
    for key in tensors:
        kind = key.split(".")[0]
        error, own_error = (relative(found[key], wanted[key]) for found in (got, own))
        worst[kind] = max(worst.get(kind, (0.0, "")), (error, key, own_error))
        limit = TOLERANCE[kind]
        if kind == "grad":
            limit = NEAR_KINKS if kinks else max(limit, TIMES_OWN * own_error)
        assert error <= limit, (name, key, error, own_error)
    for kind, (error, key, own_error) in sorted(worst.items()):
        where = "near" if kinks else "no"
        print(f"{name}, {where} kinks: {kind}: {error:.1e}, torchvision's own {own_error:.1e} ({key})")


def relative(got, wanted):
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    return ((got.double() - wanted).norm() / wanted.norm().clamp_min(1e-6)).item()


def main():
    binary, work = sys.argv[1], pathlib.Path(sys.argv[2])
    torch.manual_seed(0)
    for name in ("resnet18", "resnet50", "mobilenet_v3_small", "mobilenet_v3_large"):
        for kinks in (True, False):
            check(binary, work, name, kinks)


main()

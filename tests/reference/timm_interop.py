"""Weights both ways between ufo and timm (scripts/check-python.sh timm).

1. A timm ViT with random weights starts a supernet (`init = …`); the features of the task's network
   must equal timm's. Once also with a larger input, so that the position embedding is resized.
2. An extracted single-task folder is loaded by timm (`local-dir:`); the logits must be equal.

usage: timm_interop.py UFO_BINARY EMPTY_FOLDER
"""

import json
import pathlib
import subprocess
import sys

import numpy
import PIL.Image
import safetensors.torch
import timm
import torch

TOLERANCE = 1e-5  # largest difference over largest value


def relative(got, expected):
    got, expected = numpy.asarray(got, dtype=numpy.float64), numpy.asarray(expected, dtype=numpy.float64)
    assert got.shape == expected.shape, (got.shape, expected.shape)
    return numpy.abs(got - expected).max() / numpy.abs(expected).max()


def images(folder, side, seed):
    """Random images in two classes, train and test alike; returns the test files."""
    generator = numpy.random.default_rng(seed)
    files = []
    for split in ("train", "test"):
        for name in ("a", "b"):
            place = folder / split / name
            place.mkdir(parents=True)
            for index in range(2):
                pixels = generator.integers(0, 256, (side, side, 3), dtype=numpy.uint8)
                file = place / f"{index}.png"
                PIL.Image.fromarray(pixels).save(file)
                if split == "test":
                    files.append(file)
    return files


def inputs(files, mean, std):
    stack = numpy.stack([numpy.asarray(PIL.Image.open(file)) for file in files])
    scaled = torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    return (scaled - mean) / std


def ufo(binary, *arguments):
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"ufo {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def round_trip(binary, work, case):
    name, preset, side, steps, layout = case
    work = work / f"{preset}-{side}-{layout}-{steps}"
    files = images(work / "data", side, seed=side)
    torch.manual_seed(1)
    model = timm.create_model(name, num_classes=7).eval()
    safetensors.torch.save_file(model.state_dict(), work / "timm.safetensors")
    (work / "tasks.toml").write_text(
        f"""preset = "{preset}"
layout = "{layout}"
image_size = {side}
init = "{work}/timm.safetensors"
[train]
steps = {steps}
evaluations = 0
[[task]]
name = "random"
head = {{ kind = "linear" }}
batch = 2
data = {{ format = "image-folder", train = "{work}/data/train", test = "{work}/data/test" }}
"""
    )
    ufo(binary, "train", "--config", work / "tasks.toml", "--out", work / "run")
    ufo(binary, "extract", "--run", work / "run", "--tasks", "random", "--out", work / "model")
    said = json.loads(ufo(binary, "predict", work / "model", *files, "--json", "--features"))
    config = json.loads((work / "model/config.json").read_text())
    cfg = config["pretrained_cfg"]
    x = inputs(files, cfg["mean"], cfg["std"])

    back = timm.create_model(f"local-dir:{work}/model", pretrained=True).eval()
    with torch.no_grad():
        logits = back(x)
        features = back.forward_head(back.forward_features(x), pre_logits=True)
    errors = {
        "logits of our folder in timm": relative([image["tasks"][0]["logits"] for image in said], logits),
        "features of our folder in timm": relative([image["tasks"][0]["features"] for image in said], features),
    }
    if steps == 0:
        if side != 224:
            grid = model.pos_embed[:, 1:].transpose(1, 2).reshape(1, -1, 14, 14)
            rows = side // 16
            grid = torch.nn.functional.interpolate(grid, (rows, rows), mode="bilinear", align_corners=False)
            resized = torch.cat([model.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
            state = {**model.state_dict(), "pos_embed": resized.detach()}
            model = timm.create_model(name, num_classes=7, img_size=side).eval()
            model.load_state_dict(state)
        with torch.no_grad():
            expected = model.forward_head(model.forward_features(x), pre_logits=True)
        errors["features of timm's weights in ufo"] = relative(
            [image["tasks"][0]["features"] for image in said], expected
        )
    for what, error in errors.items():
        print(f"{name} {side} layout {layout}, {steps} steps: {what}: {error:.1e}")
        assert error <= TOLERANCE, (what, error)


def main():
    binary, work = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    for case in [
        ("vit_tiny_patch16_224", "tiny", 224, 0, "b"),
        ("vit_tiny_patch16_224", "tiny", 256, 0, "a"),
        ("vit_tiny_patch16_224", "tiny", 224, 3, "b"),
        ("vit_base_patch16_224", "base", 224, 0, "b"),
    ]:
        round_trip(binary, work, case)


main()

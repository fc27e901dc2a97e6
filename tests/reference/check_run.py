"""Checks a demo's folder by programs that had no part in writing it (scripts/check-python.sh run).

- TensorBoard reads the event file and gives the losses of metrics.jsonl.
- Every ONNX file passes onnx.checker and, run by onnxruntime on test images that Pillow resized, gives
  the outputs of `ufo predict` within 1e-4 relative.
- One with 8-bit weights passes the checker, too, and its outputs stay within a fifth of the largest.

usage: check_run.py UFO_BINARY RUN_FOLDER [--events]    only the first with --events
"""

import gzip
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime
import PIL.Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TOLERANCE = 1e-4
IMAGES = 50


def test_images(prefix):
    """The first images of an IDX file, as RGB arrays."""
    raw = gzip.decompress(pathlib.Path(f"{prefix}-images.idx.gz").read_bytes())
    rank = raw[3]
    shape = numpy.frombuffer(raw, ">u4", rank, 4)
    pixels = numpy.frombuffer(raw, numpy.uint8, -1, 4 + 4 * rank).reshape(shape)[:IMAGES]
    return pixels if rank == 4 else numpy.repeat(pixels[..., None], 3, axis=3)


def batch(pixels, preprocess):
    assert preprocess["resize"] == "squash", preprocess
    filters = {"bicubic": PIL.Image.Resampling.BICUBIC, "bilinear": PIL.Image.Resampling.BILINEAR}
    height, width = preprocess["size"]
    resized = [
        PIL.Image.fromarray(image).resize((width, height), filters[preprocess["interpolation"]])
        for image in pixels
    ]
    stack = numpy.stack([numpy.asarray(image) for image in resized]).astype(numpy.float32) / 255
    scaled = (stack - numpy.float32(preprocess["mean"])) / numpy.float32(preprocess["std"])
    return scaled.transpose(0, 3, 1, 2)


def check_model(binary, run, folder, model="model.onnx", tolerance=TOLERANCE):
    path = folder / model
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    preprocess, tasks = json.loads(metadata["preprocess"]), json.loads(metadata["tasks"])
    for task in tasks:
        pixels = test_images(run / "data" / task["name"] / "test")
        [got] = session.run([task["name"]], {"image": batch(pixels, preprocess)})
        with tempfile.TemporaryDirectory() as scratch:
            files = [f"{scratch}/{index:03}.png" for index in range(len(pixels))]
            for file, image in zip(files, pixels):
                PIL.Image.fromarray(image).save(file)
            done = subprocess.run(
                [binary, "predict", str(folder), "--json", *files],
                capture_output=True, text=True, check=True,
            )
        said = [next(t for t in row["tasks"] if t["name"] == task["name"]) for row in json.loads(done.stdout)]
        expected = numpy.array([row.get("logits", row.get("embedding")) for row in said], numpy.float32)
        error = numpy.abs(got - expected).max() / numpy.abs(expected).max()
        print(f"{folder.name}/{model}: {task['name']}: onnxruntime differs by {error:.1e} on {len(pixels)} images")
        assert got.shape == expected.shape and error <= tolerance, error


def check_events(run):
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    expected = {}
    for line in lines:
        if line["kind"] == "train":
            for task, loss in line["loss"].items():
                expected.setdefault(f"loss/{task}", []).append((line["step"], loss))
        if line["kind"] == "eval":
            tag = f"{line['metric']}/{line['task']}"
            expected.setdefault(tag, []).append((line["step"], line["value"]))
    assert expected, "no losses in metrics.jsonl"
    for tag, points in expected.items():
        got = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in got] == [step for step, _ in points], tag
        numpy.testing.assert_array_equal(
            numpy.float32([value for _, value in got]), numpy.float32([value for _, value in points]), tag
        )
    print(f"tensorboard reads {len(expected)} curves equal to metrics.jsonl")


def main():
    binary, run = sys.argv[1], pathlib.Path(sys.argv[2])
    check_events(run)
    if sys.argv[3:] == ["--events"]:
        return
    folders = sorted((run / "models").iterdir())
    assert len(folders) == 6, folders
    for folder in folders:
        check_model(binary, run, folder)
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "int8"
        command = ["extract", "--run", str(run), "--tasks", "fashion,digits", "--quantize", "int8"]
        subprocess.run([binary, *command, "--out", str(out)], check=True)
        check_model(binary, run, out, "model.int8.onnx", 0.2)


main()

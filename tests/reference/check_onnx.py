"""Checks ONNX files by programs that had no part in writing them.

usage: check_onnx.py MODEL.onnx...
       check_onnx.py MODEL.onnx --inputs images.npy... --outputs logits.npy... [--tolerance 1e-5]

Each model passes onnx.checker (full check, with shape inference), infers the shapes it declares, and
runs in onnxruntime. Its outputs are compared with the first of these that there is:
  --outputs       arrays in the order of the model's outputs, for --inputs in the order of its inputs
  MODEL.json      beside the model: {"inputs": {name: {"shape": [], "data": []}}, "outputs": {...}}
  onnx_sample.py  for a model whose metadata say reference = sample
A model with none of these is an error: a check that compares nothing is none.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import onnx_sample


def structure(path):
    """The model in memory, its weights read in, after onnx's own checks."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    for declared, found in zip(model.graph.output, inferred.graph.output, strict=True):
        if declared != found:
            raise SystemExit(f"{path}: {declared.name}: inferred {found}, declared {declared}")
    return model


def from_json(path):
    def arrays(values):
        return {
            name: np.array(value["data"], dtype=np.float32).reshape(value["shape"])
            for name, value in values.items()
        }

    fixture = json.loads(path.read_text(encoding="utf-8"))
    return arrays(fixture["inputs"]), arrays(fixture["outputs"])


def fixture(path, model, options):
    """What goes in and what must come out."""
    if options.outputs:
        names = [value.name for value in model.graph.input]
        feeds = dict(zip(names, map(np.load, options.inputs), strict=True))
        names = [value.name for value in model.graph.output]
        return feeds, dict(zip(names, map(np.load, options.outputs), strict=True))
    if path.with_suffix(".json").exists():
        return from_json(path.with_suffix(".json"))
    if any(entry.key == "reference" and entry.value == "sample" for entry in model.metadata_props):
        arrays = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        feeds = onnx_sample.inputs()
        return feeds, onnx_sample.outputs(arrays, feeds)
    raise SystemExit(f"{path}: no expected outputs (--outputs, or {path.with_suffix('.json')})")


def check(path, options):
    model = structure(path)
    feeds, expected = fixture(path, model, options)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    if set(names) != set(expected):
        raise SystemExit(f"{path}: outputs {names}, expected {sorted(expected)}")
    worst = 0.0
    for name, got in zip(names, session.run(names, feeds), strict=True):
        np.testing.assert_allclose(
            got, expected[name], rtol=options.tolerance, atol=options.tolerance, err_msg=name
        )
        worst = max(worst, float(np.abs(got - expected[name]).max(initial=0.0)))
    print(f"{path.name}: {len(model.graph.node)} nodes, {len(names)} outputs, off by {worst:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--inputs", nargs="+", default=[])
    parser.add_argument("--outputs", nargs="+", default=[])
    parser.add_argument("--tolerance", type=float, default=1e-5)
    options = parser.parse_args()
    if options.outputs and len(options.models) > 1:
        parser.error("--outputs is for one model")
    for path in options.models:
        check(path, options)


if __name__ == "__main__":
    main()

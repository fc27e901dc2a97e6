"""`infer-{S,L}-b{1,64}-{f32,int8}`: onnxruntime on the plain ViT's ONNX export.

The export (opset 17, batch free) and its quantized forms are made by a process of their own, so that
the memory measured is onnxruntime's, and cached in the system's temporary folder. For int8 the fastest
of these at the workload's batch is kept:

- `dynamic`: weights per channel, activations quantized as they come;
- `static`: QDQ, per channel, every operator that onnxruntime quantizes;
- `static-linear`: QDQ, per channel, only products with constant weights and convolutions.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import numpy
import onnxruntime

SIDES = {"S": 64, "L": 224}
OPSET = 17
CALIBRATION_BATCHES = 4
TRIALS = 7


def prepare(name, threads):
    command = [sys.executable, __file__, name, str(threads)]
    made = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    letter, batch, _ = parts(name)
    step = session_step(made["model"], letter, batch, threads)

    def facts():
        return {
            "version": f"onnxruntime {onnxruntime.__version__}",
            "device": "cpu",
            "spinning": spinning(),
            "batch": batch,
            **made["facts"],
        }

    return step, facts


def parts(name):
    _, letter, batch, dtype = name.split("-")
    return letter, int(batch[1:]), dtype


def session_step(model, letter, batch, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning())))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {"images": random_images(letter, batch, seed=0)}
    return lambda: session.run(None, feed)


def spinning():
    """Whether idle threads spin; one variable decides for PyTorch and onnxruntime (peer.py)."""
    return os.environ.get("OMP_WAIT_POLICY") == "ACTIVE"


def random_images(letter, batch, seed):
    shape = (batch, 3, SIDES[letter], SIDES[letter])
    return numpy.random.default_rng(seed).standard_normal(shape, numpy.float32)


# What follows runs in the process that makes the models.


def make(name, threads):
    letter, batch, dtype = parts(name)
    exported = cached(f"{letter}.onnx", lambda path: export(letter, path))
    if dtype == "f32":
        return {"model": str(exported), "facts": {"dtype": "f32"}}
    optimized = cached(f"{letter}-pre.onnx", lambda path: preprocess(exported, path))
    models = {
        "dynamic": cached(f"{letter}-dynamic.onnx", lambda path: dynamic(optimized, path)),
        "static": cached(f"{letter}-static.onnx", lambda path: static(letter, optimized, path)),
        "static-linear": cached(
            f"{letter}-static-linear.onnx",
            lambda path: static(letter, optimized, path, MatMulConstBOnly=True),
        ),
    }
    trials_ms = {key: fastest_ms(model, letter, batch, threads) for key, model in models.items()}
    fastest = min(trials_ms, key=trials_ms.get)
    facts = {"dtype": "int8", "quantization": fastest, "trials_ms": trials_ms}
    return {"model": str(models[fastest]), "facts": facts}


def cached(file, write):
    """The path of a file that `write` makes unless this version of it is there."""
    sources = (pathlib.Path(__file__).with_name(code) for code in ("infer.py", "vit.py"))
    text = "".join(source.read_text() for source in sources)
    versions = [importlib.metadata.version(package) for package in ("torch", "onnxruntime")]
    key = hashlib.sha256("\n".join([text, *versions]).encode()).hexdigest()[:12]
    target = pathlib.Path(tempfile.gettempdir(), f"ufo-bench-onnx-{key}", file)
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            whole = pathlib.Path(temporary, file)
            write(whole)
            whole.rename(target)
    return target


def export(letter, path):
    import torch

    from vit import SIZES, Vit

    torch.manual_seed(0)
    model = Vit(SIZES[letter]).eval()
    images = torch.from_numpy(random_images(letter, 2, seed=1))
    names = {"input_names": ["images"], "output_names": ["logits"]}
    axes = {"images": {0: "batch"}, "logits": {0: "batch"}}
    # The newer exporter needs one more package and a conversion to reach this opset.
    options = {"opset_version": OPSET, "dynamo": False, "dynamic_axes": axes, **names}
    torch.onnx.export(model, (images,), path, **options)
    with torch.inference_mode():
        expected = model(images).numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"images": images.numpy()})
    numpy.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def preprocess(exported, path):
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(exported, path)


def dynamic(model, path):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(model, path, per_channel=True, weight_type=QuantType.QInt8)


def static(letter, model, path, **linear_only):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self):
            self.seeds = iter(range(2, 2 + CALIBRATION_BATCHES))

        def get_next(self):
            seed = next(self.seeds, None)
            return seed and {"images": random_images(letter, 4, seed)}

    options = {"op_types_to_quantize": ["MatMul", "Gemm", "Conv"]} if linear_only else {}
    quantize_static(
        model,
        path,
        Images(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options=linear_only,
        **options,
    )


def fastest_ms(model, letter, batch, threads):
    step = session_step(model, letter, batch, threads)
    step()
    times = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - started))
    return round(min(times), 2)


def main():
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore", DeprecationWarning)
    # The answer alone goes to stdout; exporters print there.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps(make(sys.argv[1], int(sys.argv[2]))), file=answer)


if __name__ == "__main__":
    main()

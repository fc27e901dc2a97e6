"""pip's tritonclient, unchanged, against `ufo serve`; numbers beside those of `ufo predict`. Then the examples of
docs/serving.md, word for word.

    check_serve.py UFO RUN

RUN is a finished demo. Every tensor is asked for in JSON and in the binary extension, as floats that this
program prepares itself and as the bytes of image files; Prometheus' own parser reads the counts and an
OpenAPI validator the description of the addresses. Then the models' ONNX files, run by rten and by the library of
pip's onnxruntime.
"""

import gzip
import io
import json
import pathlib
import re
import struct
import subprocess
import sys
import urllib.request

import numpy as np
import onnxruntime
import tritonclient.http as triton
from openapi_spec_validator import validate
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

TOLERANCE = 1e-5


def images(run, count):
    """Emoji of 32 x 32, the size that the demo's models take, so that preparing them is one formula."""
    raw = gzip.open(run / "data/emoji/test-images.idx.gz").read()
    shape = struct.unpack(">4I", raw[4:20])
    return np.frombuffer(raw[20:], np.uint8).reshape(shape)[:count]


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def predicted(ufo, model, files, folder):
    """Logits or embeddings by task, from `ufo predict`."""
    paths = []
    for index, file in enumerate(files):
        paths.append(folder / f"serve-{index}.png")
        paths[-1].write_bytes(file)
    out = subprocess.run([ufo, "predict", model, *paths, "--json"], check=True, capture_output=True)
    rows = json.loads(out.stdout)
    tasks = [task["name"] for task in rows[0]["tasks"]]
    values = lambda task: task.get("logits") or task["embedding"]
    return {
        name: np.array([values(row["tasks"][index]) for row in rows], np.float32)
        for index, name in enumerate(tasks)
    }


def agree(got, expected, what, tolerance=TOLERANCE):
    """The largest difference, relative to the largest value where that is above 1."""
    assert got.shape == expected.shape, (what, got.shape, expected.shape)
    worst = float(np.abs(got - expected).max() / max(1, np.abs(expected).max()))
    assert worst <= tolerance, (what, worst)
    return worst


def check_model(client, model, expected, pixels, files):
    metadata = client.get_model_metadata(model)
    assert client.is_model_ready(model) and client.is_model_ready(model, "1")
    assert [out["name"] for out in metadata["outputs"]] == list(expected), metadata
    floats = ((pixels.astype(np.float32) / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2)
    worst = 0.0
    for binary in [False, True]:
        given = triton.InferInput("image", list(floats.shape), "FP32")
        given.set_data_from_numpy(np.ascontiguousarray(floats), binary_data=binary)
        for out_binary in [False, True]:
            asked = [triton.InferRequestedOutput(t, binary_data=out_binary) for t in expected]
            answer = client.infer(model, [given], outputs=asked, request_id="7", timeout=5_000_000)
            assert answer.get_response()["id"] == "7"
            for task, rows in expected.items():
                worst = max(worst, agree(answer.as_numpy(task), rows, (model, task, binary)))
    given = triton.InferInput("image", [len(files)], "BYTES")
    given.set_data_from_numpy(np.array(files, object))
    answer = client.infer(model, [given])
    for task, rows in expected.items():
        agree(answer.as_numpy(task), rows, (model, task, "files"), tolerance=0)
    # Many at the same time, which the server puts into batches.
    asked = []
    for index in range(len(files)):
        given = triton.InferInput("image", [1, *floats.shape[1:]], "FP32")
        given.set_data_from_numpy(np.ascontiguousarray(floats[index : index + 1]))
        asked.append(client.async_infer(model, [given]))
    for index, answer in enumerate(asked):
        answer = answer.get_result()
        for task, rows in expected.items():
            agree(answer.as_numpy(task), rows[index : index + 1], (model, task, "at once"))
    return worst


def refused(call, words):
    try:
        call()
    except InferenceServerException as error:
        assert words in str(error), error
        return
    raise AssertionError(f"not refused: {words}")


def check_refusals(client):
    given = triton.InferInput("image", [1, 3, 8, 8], "FP32")
    given.set_data_from_numpy(np.zeros([1, 3, 8, 8], np.float32))
    refused(lambda: client.infer("digits", [given]), "allowed: FP32 of [n, 3, 32, 32]")
    refused(lambda: client.infer("none", [given]), "no model `none`")
    refused(lambda: client.get_model_metadata("digits", "2"), "has version 1")


class Serving:
    """A server until the end of a `with`; its address."""

    def __init__(self, ufo, *arguments):
        command = [ufo, "serve", *arguments, "--set", "listen=127.0.0.1:0", "--log", "warn"]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self.server.stdout.readline().split("http://")[1].strip()

    def __exit__(self, *_):
        self.server.terminate()
        assert self.server.wait(timeout=30) == 0, "SIGTERM ends the server with 0"


def check_onnxruntime(ufo, run, models, pixels):
    """A folder's ONNX file in rten and in onnxruntime's library, beside the folder: one server, three models."""
    capi = pathlib.Path(onnxruntime.__file__).parent / "capi"
    library = next(path for path in sorted(capi.glob("libonnxruntime.*")) if "providers" not in path.name)
    config = run / "onnxruntime.toml"
    model = lambda path, name, rest: f'[[model]]\nname = "{name}"\npath = "{path.resolve()}"\n{rest}\n'
    runtimes = {"own": "", "rten": 'runtime = "rten"', "ort": 'runtime = "onnxruntime"'}
    int8 = 'precision = "int8"\nruntime = "onnxruntime"'
    text = f'onnxruntime = "{library.resolve()}"\n'
    for path in models:
        text += "".join(model(path, f"{path.name}-{name}", rest) for name, rest in runtimes.items())
        if (path / "model.int8.onnx").exists():
            text += model(path, f"{path.name}-ort8", int8)
    config.write_text(text)
    floats = ((pixels.astype(np.float32) / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2)
    worst = 0.0
    with Serving(ufo, "--config", config) as address:
        client = triton.InferenceServerClient(address)
        for path in models:
            for count in [1, len(pixels)]:
                answers = {}
                for name in runtimes:
                    metadata = client.get_model_metadata(f"{path.name}-{name}")
                    given = triton.InferInput(metadata["inputs"][0]["name"], [count, *floats.shape[1:]], "FP32")
                    given.set_data_from_numpy(np.ascontiguousarray(floats[:count]))
                    answer = client.infer(f"{path.name}-{name}", [given])
                    answers[name] = {out["name"]: answer.as_numpy(out["name"]) for out in metadata["outputs"]}
                assert client.get_model_metadata(f"{path.name}-ort")["platform"] == "onnxruntime"
                for task, rows in answers["rten"].items():
                    worst = max(worst, agree(answers["ort"][task], rows, (path.name, task, "rten")))
                    agree(answers["ort"][task], answers["own"][task], (path.name, task, "own"))
        client.close()
    # What is said where the library is missing, and where none is named.
    for sets, words in [
        (["onnxruntime=/nowhere/libonnxruntime.so"], ["/nowhere/libonnxruntime.so", "onnxruntime 1."]),
        ([], ["onnxruntime is missing", "libonnxruntime.so"]),
    ]:
        named = ["--set", "model.digits.runtime=onnxruntime", *(part for one in sets for part in ("--set", one))]
        done = subprocess.run([ufo, "serve", run / "models/digits", *named], capture_output=True, text=True)
        assert done.returncode != 0 and all(word in done.stderr for word in words), done.stderr
    print(f"{len(models)} ONNX files in onnxruntime {onnxruntime.__version__} within {worst:.1e} of rten")


def examples(ufo, run):
    """Runs the examples: `curl` and Python blocks in one folder, beside servers that are started as they say."""
    text = pathlib.Path(__file__).parents[2].joinpath("docs/serving.md").read_text()
    folder = run / "examples"
    folder.mkdir()
    (folder / "runs").mkdir()
    (folder / "runs/demo").symlink_to(run.resolve())
    for name, pixels in zip(["shoe", "smile", "grin"], images(run, 3)):
        (folder / f"{name}.png").write_bytes(png(pixels))
    (folder / "keys.txt").write_text("0123456789abcdef\n")
    blocks = re.findall(r"^<!-- ci:(\w+) -->\n```\w*\n(.*?)^```$", text, re.M | re.S)
    assert {kind for kind, _ in blocks} == {"serve", "ask", "python"}, blocks
    port = "8080"
    server, ran = None, 0
    try:
        for kind, block in blocks:
            block = block.replace(f"127.0.0.1:{port}", "127.0.0.1:18080")
            if kind == "serve":
                if server:
                    server.terminate()
                    assert server.wait(timeout=30) == 0
                line = block.strip().removeprefix("$ ").removeprefix("ufo ")
                line = f"exec {ufo} {line} --set listen=127.0.0.1:18080 --log warn"
                server = subprocess.Popen(["bash", "-c", line], cwd=folder, stdout=subprocess.PIPE, text=True)
                assert "listening" in server.stdout.readline(), block
            elif kind == "python":
                run_in(folder, [sys.executable, "-c", block])
            else:
                for line in re.sub(r"\\\n\s*", "", block).splitlines():
                    if line.startswith(("$ curl", "curl")):
                        line = line.removeprefix("$ ").replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
                        run_in(folder, ["bash", "-c", line])
            ran += 1
    finally:
        if server:
            server.terminate()
            server.wait(timeout=30)
    return ran


def run_in(folder, command):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stdout, done.stderr)


def main(ufo, run):
    run = pathlib.Path(run)
    models = sorted(path for path in (run / "models").iterdir())
    pixels = images(run, 8)
    files = [png(one) for one in pixels]
    with Serving(ufo, *models) as address:
        client = triton.InferenceServerClient(address, concurrency=8)
        assert client.is_server_live() and client.is_server_ready()
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        for model in models:
            expected = predicted(ufo, model, files, run)
            worst = check_model(client, model.name, expected, pixels, files)
            print(f"{model.name}: {', '.join(expected)} within {worst:.1e} of ufo predict")
        check_refusals(client)
        get = lambda place: urllib.request.urlopen(f"http://{address}{place}").read()
        validate(json.loads(get("/openapi.json")))
        families = {f.name: f for f in text_string_to_metric_families(get("/metrics").decode())}
        counts = {tuple(s.labels.values()): s.value for s in families["ufo_task_images"].samples}
        assert counts["digits", "digits"] > 0 and families["ufo_batch_images"].samples, families
        client.close()
    check_onnxruntime(ufo, run, models, pixels)
    ran = examples(pathlib.Path(ufo).resolve(), run)
    print(f"{ran} examples of docs/serving.md work")
    print(f"tritonclient agrees on {len(models)} models; metrics and OpenAPI are sound")


if __name__ == "__main__":
    main(*sys.argv[1:])

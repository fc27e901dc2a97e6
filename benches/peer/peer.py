"""Runs one workload in PyTorch, torchvision or onnxruntime, step by step on demand.

    python benches/peer/peer.py NAME

Prepares NAME with a fixed seed, runs two warm-up steps and prints `ready {facts as JSON}`. Each line
`step` on stdin runs one step and prints its milliseconds. At the end of stdin it prints
`peak_mb N`, the peak resident set, and ends. An unknown NAME ends it with code 3.

UFO_THREADS (default 2) is the number of threads, UFO_BENCH_DATA the folder of `loader-jpeg`. Threads of
PyTorch and onnxruntime sleep while they wait for each other, as spinning ones are several times slower
wherever another process wants their cores; OMP_WAIT_POLICY=ACTIVE makes them spin, for an idle machine.
"""

import importlib
import json
import os
import resource
import sys
import time

WARM_UP = 2
UNKNOWN = 3

WORKLOADS = {
    "train-step-S-f32": "vit_step",
    "train-step-L-f32": "vit_step",
    "train-step-S-bf16": "vit_step",
    "train-step-L-bf16": "vit_step",
    "supernet-step": "supernet_step",
    "supernet-step-bf16": "supernet_step",
    "infer-S-b1-f32": "infer",
    "infer-S-b64-f32": "infer",
    "infer-L-b1-f32": "infer",
    "infer-S-b1-int8": "infer",
    "infer-S-b64-int8": "infer",
    "infer-L-b1-int8": "infer",
    "loader-jpeg": "loader",
    "loader-idx": "loader",
    "conv-resnet50": "conv",
    "conv-mobilenetv3": "conv",
}


def protocol_output():
    """The real stdout; whatever libraries print goes to stderr."""
    output = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return output


def peak_mb(module):
    """Peak resident set of this process, and what the workload holds in others."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    others = getattr(module, "others_mb", lambda: 0.0)
    return own + others()


def serve(name, threads, output):
    module = importlib.import_module(WORKLOADS[name])
    step, facts = module.prepare(name, threads)
    for _ in range(WARM_UP):
        step()
    facts = {"name": name, "threads": threads, **facts()}
    print("ready", json.dumps(facts), file=output)
    for line in sys.stdin:
        if line.strip() != "step":
            sys.exit(f"expected `step`, got {line.strip()!r}")
        started = time.perf_counter()
        step()
        print(f"{1e3 * (time.perf_counter() - started):.4f}", file=output)
    print(f"peak_mb {peak_mb(module):.1f}", file=output)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: peer.py NAME")
    name = sys.argv[1]
    if name not in WORKLOADS:
        print(f"unknown workload {name!r}; known: {', '.join(WORKLOADS)}", file=sys.stderr)
        sys.exit(UNKNOWN)
    threads = int(os.environ.get("UFO_THREADS", "2"))
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    serve(name, threads, protocol_output())


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A side of the protocol whose steps take what its environment says; the last argument is the name.

The name `unknown` ends with code 3, `crash` fails at its second step, `hang` never answers a step,
`chatty` prints something else first, `nan` measures nothing. FAKE_MS is the step's milliseconds,
FAKE_LOG a file to which each step appends this process's FAKE_LABEL.
"""

import json
import os
import sys
import time

name = sys.argv[-1]
if name == "unknown":
    sys.exit(print("unknown workload 'unknown'", file=sys.stderr) or 3)
if name == "chatty":
    print("hello", flush=True)
print("ready", json.dumps({"name": name, "threads": 2}), flush=True)
for count, line in enumerate(sys.stdin, 1):
    assert line == "step\n", line
    if name == "crash" and count == 2:
        sys.exit("out of luck")
    if name == "hang":
        time.sleep(60)
    if log := os.environ.get("FAKE_LOG"):
        with open(log, "a") as file:
            file.write(os.environ["FAKE_LABEL"])
    step_ms = float(os.environ.get("FAKE_MS", "10"))
    print("nan" if name == "nan" else step_ms * count, flush=True)
print("peak_mb 12.5", flush=True)

"""Prints as JSON what TensorBoard reads from a run folder: {tag: [[step, value], ...]}.

usage: check_events.py DIR [expected.json]; with a second file, values must be equal as f32.
"""

import json
import sys

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read(folder):
    events = EventAccumulator(folder, size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [[event.step, event.value] for event in events.Scalars(tag)]
        for tag in sorted(events.Tags()["scalars"])
    }


def main():
    got = read(sys.argv[1])
    print(json.dumps(got, indent=1))
    if not got:
        sys.exit("no scalars found")
    if len(sys.argv) > 2:
        with open(sys.argv[2], encoding="utf-8") as file:
            expected = json.load(file)
        if got.keys() != expected.keys():
            sys.exit(f"tags differ: {sorted(got)} against {sorted(expected)}")
        for tag, points in expected.items():
            np.testing.assert_array_equal(
                np.float32(got[tag]), np.float32(points), err_msg=tag
            )


if __name__ == "__main__":
    main()

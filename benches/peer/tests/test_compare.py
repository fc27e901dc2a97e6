"""Tests of compare.py against sides that speak the protocol by hand.

    python benches/peer/tests/test_compare.py
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import compare

compare.PAUSE_S = 0.0


def side(name, label="ours", ms=10, log=""):
    environment = [f"FAKE_MS={ms}", f"FAKE_LABEL={label}", f"FAKE_LOG={log}"]
    return ["env", *environment, sys.executable, HERE / "fake.py", name]


def row(ours, peer, rounds=4, limit_s=60):
    return compare.row("workload", ours, peer, rounds, limit_s)


class Row(unittest.TestCase):
    def test_ratio_is_peer_over_ours_and_times_are_medians(self):
        result = row(side("a", ms=10), side("a", "peer", ms=25))
        self.assertEqual((result["ours_ms"], result["peer_ms"]), (25, 62.5))
        self.assertEqual((result["ratio"], result["spread"]), (2.5, [2.5, 2.5]))
        self.assertEqual((result["rounds"], result["ours_mb"], result["peer_mb"]), (4, 12.5, 12.5))
        self.assertEqual(result["ours"], {"name": "a", "threads": 2})

    def test_order_swaps_every_other_round(self):
        with tempfile.NamedTemporaryFile("r") as log:
            row(side("a", "o", log=log.name), side("a", "p", log=log.name))
            self.assertEqual(log.read(), "oppo" * 2)

    def test_no_round_begins_after_the_limit(self):
        self.assertEqual(row(side("a"), side("a"), limit_s=0)["rounds"], 2)

    def test_a_side_that_does_not_know_the_name_is_a_skipped_row(self):
        for ours, peer, who in (("unknown", "a", "ours"), ("a", "unknown", "peer")):
            result = row(side(ours), side(peer))
            expected = {"name": "workload", "skipped": f"{who}: unknown workload 'unknown'"}
            self.assertEqual(result, expected)

    def test_failures_tell_who_and_why(self):
        cases = {
            "crash": "peer ended with code 1: out of luck",
            "chatty": "peer: expected `ready` and a value, got 'hello'",
            "nan": "peer: expected milliseconds, got 'nan'",
        }
        for name, reason in cases.items():
            self.assertEqual(row(side("a"), side(name))["failed"], reason)
        self.assertIn("No such file", row(["/nonexistent"], side("a"))["failed"])

    def test_a_side_that_hangs_is_killed(self):
        with compare.Side("ours", side("hang"), timeout_s=0.5) as hung:
            hung.ready()
            self.assertRaisesRegex(compare.Failed, "code -9", hung.step_ms)


class Summary(unittest.TestCase):
    def test_percentiles_are_interpolated(self):
        pairs = [(1, ratio) for ratio in range(11)]
        self.assertEqual(compare.summary(pairs)["spread"], [1, 9])

    def test_ratio_pairs_rounds_before_the_median(self):
        self.assertEqual(compare.summary([(1, 2), (10, 10), (100, 100)])["ratio"], 1)


class Command(unittest.TestCase):
    def test_unknown_names_make_a_file_of_skipped_rows(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder, "out.json")
            command = [sys.executable, HERE.parent / "compare.py", HERE / "fake.py"]
            command += ["--names", "no-such,unknown", "--rounds", "2", "--json", out]
            done = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            written = json.loads(out.read_text())
        self.assertEqual(set(written), {"rows", "cpu"})
        skipped = [result["skipped"] for result in written["rows"]]
        self.assertTrue(skipped[0].startswith("peer: unknown workload 'no-such'; known: train-step"))
        self.assertEqual(skipped[1], "ours: unknown workload 'unknown'")


if __name__ == "__main__":
    unittest.main()

"""Compares workloads of `ufo bench serve NAME` and of peer.py, step against step.

    compare.py UFO_BINARY [--names a,b] [--rounds 20] [--limit-s S] [--json OUT]

Both sides of a workload are prepared, then a round is one step of each, the order swapped every other
round, so that a load from elsewhere meets both. A row has the medians, the median of the rounds' ratios
peer/ours (above 1: ours is faster) and their 10th and 90th percentiles. A workload that a side does not
know (it ends with code 3) is a row with `skipped`; one that a side fails at is a row with `failed`, and
makes the exit code 1. `elsewhere_cores` is what other processes used meanwhile: measure on an idle machine.
"""

import argparse
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time

# Nothing large is imported here: what this process holds would count in the peak of those it starts.
HERE = pathlib.Path(__file__).resolve().parent
UNKNOWN = 3
LINE_TIMEOUT_S = 900
END_TIMEOUT_S = 30
# Idle threads of OpenMP and onnxruntime spin a while after a step; the other side waits until they sleep.
PAUSE_S = 0.05
# Beyond this many cores used by others a ratio is doubtful: threads that wait for each other suffer most.
QUIET_CORES = 0.2


class Skipped(Exception):
    pass


class Failed(Exception):
    pass


class Side:
    """A process of the protocol; `facts` is its ready line."""

    def __init__(self, label, command, timeout_s=LINE_TIMEOUT_S):
        self.label, self.timeout_s = label, timeout_s
        self.errors = tempfile.TemporaryFile("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        try:
            self.process = subprocess.Popen(command, text=True, bufsize=1, **pipes)
        except OSError as error:
            self.errors.close()
            raise Failed(f"{label}: {error}") from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.errors.close()

    def ready(self):
        return self.value_of("ready")

    def step_ms(self):
        try:
            self.process.stdin.write("step\n")
        except BrokenPipeError:
            pass  # `line` tells why
        line = self.line()
        try:
            step_ms = float(line)
        except ValueError:
            step_ms = 0.0
        if not 0.0 < step_ms < float("inf"):
            raise Failed(f"{self.label}: expected milliseconds, got {line!r}")
        return step_ms

    def peak_mb(self):
        self.process.stdin.close()
        peak_mb = self.value_of("peak_mb")
        try:
            self.process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.label}: still running after `peak_mb`") from None
        return peak_mb

    def value_of(self, word):
        """The JSON value after `word` in the next line."""
        line = self.line()
        first, _, value = line.partition(" ")
        try:
            if first == word:
                return json.loads(value)
        except ValueError:
            pass
        raise Failed(f"{self.label}: expected `{word}` and a value, got {line!r}")

    def line(self):
        """The next line; the end of the output is an exception with the reason from stderr."""
        watchdog = threading.Timer(self.timeout_s, self.process.kill)
        watchdog.start()
        try:
            line = self.process.stdout.readline()
            if line.endswith("\n"):
                return line.strip()
            code = self.process.wait()
        finally:
            watchdog.cancel()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines() or ["no message"]
        if code == UNKNOWN:
            raise Skipped(f"{self.label}: {said[-1]}")
        raise Failed(f"{self.label} ended with code {code}: {' | '.join(said[-3:])}")


class Elsewhere:
    """Counts the processor time that others took."""

    def __init__(self):
        self.started, self.others_s = time.monotonic(), self.now_s()

    def now_s(self):
        """Seconds in which a core was busy, less those of this process's children that ended."""
        fields = pathlib.Path("/proc/stat").read_text().split(maxsplit=9)
        user, nice, system = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[1:4])
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return user + nice + system - children.ru_utime - children.ru_stime

    def cores(self):
        return max(0.0, self.now_s() - self.others_s) / (time.monotonic() - self.started)


def row(name, ours_command, peer_command, rounds, limit_s):
    """The result of one workload."""
    elsewhere = Elsewhere()
    try:
        with Side("ours", ours_command) as ours:
            ours_facts = ours.ready()
            with Side("peer", peer_command) as peer:
                peer_facts = peer.ready()
                pairs = measured(ours, peer, rounds, limit_s)
                peaks = {"ours_mb": ours.peak_mb(), "peer_mb": peer.peak_mb()}
    except Skipped as reason:
        return {"name": name, "skipped": str(reason)}
    except Failed as reason:
        return {"name": name, "failed": str(reason)}
    others = {"elsewhere_cores": round(elsewhere.cores(), 2)}
    return {"name": name, **summary(pairs), **peaks, **others, "ours": ours_facts, "peer": peer_facts}


def measured(ours, peer, rounds, limit_s):
    """Pairs of milliseconds, at least two rounds."""
    pairs, deadline = [], time.monotonic() + limit_s
    for index in range(rounds):
        if index >= 2 and time.monotonic() > deadline:
            break
        taken_ms = {}
        for side in (ours, peer) if index % 2 == 0 else (peer, ours):
            time.sleep(PAUSE_S)
            taken_ms[side] = side.step_ms()
        pairs.append((taken_ms[ours], taken_ms[peer]))
    return pairs


def summary(pairs):
    ratios = [peer / ours for ours, peer in pairs]
    tenths = statistics.quantiles(ratios, n=10, method="inclusive")
    return {
        "ours_ms": statistics.median(ours for ours, _ in pairs),
        "peer_ms": statistics.median(peer for _, peer in pairs),
        "ratio": statistics.median(ratios),
        "spread": [tenths[0], tenths[-1]],
        "rounds": len(pairs),
    }


def cpu():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} logical cores"


HEADER = ("workload", "ours ms", "peer ms", "peer/ours", "p10", "p90", "rounds",
          "ours MB", "peer MB")


def line_of(result):
    for state in ("skipped", "failed"):
        if state in result:
            return f"{result['name']:<20} {state}: {result[state]}"
    low, high = result["spread"]
    cells = [f"{result[key]:.2f}" for key in ("ours_ms", "peer_ms", "ratio")]
    cells += [f"{low:.2f}", f"{high:.2f}", str(result["rounds"])]
    cells += [f"{result[key]:.0f}" for key in ("ours_mb", "peer_mb")]
    line = table_line(result["name"], *cells)
    if result["elsewhere_cores"] > QUIET_CORES:
        line += f"  (others used {result['elsewhere_cores']:.1f} cores)"
    return line


def table_line(name, *cells):
    return f"{name:<20} " + " ".join(f"{cell:>9}" for cell in cells)


def write_json(path, results):
    """Writes beside and renames."""
    beside = path.with_name(path.name + ".partial")
    beside.write_text(json.dumps({"rows": results, "cpu": cpu()}, indent=1) + "\n")
    beside.rename(path)


def compare(binary, names, rounds, limit_s):
    print(table_line(*HEADER), flush=True)
    for name in names:
        if name == "loader-jpeg":
            photos = [sys.executable, HERE / "photos.py", os.environ["UFO_BENCH_DATA"]]
            subprocess.run(photos, check=True)
        ours, peer = [binary, "bench", "serve", name], [sys.executable, HERE / "peer.py", name]
        result = row(name, ours, peer, rounds, limit_s)
        print(line_of(result), flush=True)
        yield result


def arguments():
    parser = argparse.ArgumentParser(description="Compares ufo with its peers, step against step.")
    parser.add_argument("ufo", metavar="UFO_BINARY", help="program that has `bench serve NAME`")
    parser.add_argument("--names", help="workloads, by commas; default all")
    parser.add_argument("--rounds", type=int, default=20, help="at least 2; default 20")
    parser.add_argument("--limit-s", type=float, default=float("inf"), metavar="S",
                        help="begin no further round of a workload after S seconds; default none")
    parser.add_argument("--json", type=pathlib.Path, metavar="OUT", help="file for the result")
    parsed = parser.parse_args()
    if parsed.rounds < 2:
        parser.error("--rounds must be at least 2")
    return parsed


def main():
    from peer import WORKLOADS

    chosen = arguments()
    names = chosen.names.split(",") if chosen.names else list(WORKLOADS)
    for variable in ("UFO_THREADS", "RAYON_NUM_THREADS"):
        os.environ.setdefault(variable, "2")
    with tempfile.TemporaryDirectory(prefix="ufo-bench-") as folder:
        os.environ.setdefault("UFO_BENCH_DATA", folder)
        os.environ.setdefault("UFO_BENCH_IDX", str(HERE.parent.parent / "data/fashion/train"))
        results = []
        for result in compare(chosen.ufo, names, chosen.rounds, chosen.limit_s):
            results.append(result)
            if chosen.json:
                write_json(chosen.json, results)
    sys.exit(any("failed" in result for result in results))


if __name__ == "__main__":
    main()

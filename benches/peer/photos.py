"""Writes the images of `loader-jpeg`: 128 photo-like JPEG files, 256x256, quality 90, in two classes.

    python benches/peer/photos.py FOLDER        FOLDER/c0/000.jpg ... FOLDER/c1/127.jpg

An image is noise of every scale with amplitude falling as 1/frequency, as in photographs, with a few
flat shapes for edges and a little sensor noise: about 16 kB a file. Equal versions of numpy and Pillow
write equal bytes. A class folder that is there already is kept as it is.
"""

import pathlib
import sys
import tempfile

import numpy
from PIL import Image, ImageDraw

CLASSES = 2
FILES = 128
SIDE = 256
QUALITY = 90


def photo(index):
    rng = numpy.random.default_rng(index)
    pixels = numpy.full((SIDE, SIDE, 3), 128.0, numpy.float32)
    for cells in (2, 4, 8, 16, 32, 64, 128):
        grid = rng.standard_normal((cells, cells, 1)) + 0.4 * rng.standard_normal((cells, cells, 3))
        pixels += 100 / cells**0.8 * enlarged(grid.astype(numpy.float32))
    image = Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8))
    draw = ImageDraw.Draw(image, "RGBA")
    for _ in range(6):
        x, y, width, height = rng.integers([0, 0, 16, 16], [SIDE, SIDE, 120, 120]).tolist()
        shape = rng.choice([draw.ellipse, draw.rectangle])
        shape((x, y, x + width, y + height), fill=(*rng.integers(0, 256, 3).tolist(), 150))
    noisy = numpy.asarray(image, numpy.float32) + 3 * rng.standard_normal((SIDE, SIDE, 1))
    return Image.fromarray(noisy.clip(0, 255).astype(numpy.uint8))


def enlarged(grid):
    channels = [Image.fromarray(grid[..., channel]) for channel in range(3)]
    bicubic = Image.Resampling.BICUBIC
    return numpy.stack([numpy.asarray(c.resize((SIDE, SIDE), bicubic)) for c in channels], axis=2)


def write(folder):
    """Fills `folder`; a class appears under its name only when it is whole."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for label in range(CLASSES):
        target = folder / f"c{label}"
        if target.exists():
            continue
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            whole = pathlib.Path(temporary) / target.name
            whole.mkdir()
            for index in range(label, FILES, CLASSES):
                photo(index).save(whole / f"{index:03}.jpg", quality=QUALITY)
            whole.rename(target)
    return folder


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: photos.py FOLDER")
    write(sys.argv[1])

"""Writes pillow.json: what Pillow makes of a small image, for the tests of transform and augment.

Run with Pillow 12.1.1 and NumPy 2.4.6: python pillow.py > pillow.json
Pillow 13 orders the two passes of a resize by cost, which moves some pixels by 1.
The image operations are called as timm's auto_augment.py calls them.
"""

import json
import math

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

FILL = (128, 128, 128)
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def source():
    """29 x 37: a gradient with noise, a different range in each channel."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:37, 0:29]
    planes = [
        40 + 3 * x + 2 * y + rng.integers(0, 30, x.shape),
        200 - 2 * x - 3 * y + rng.integers(-40, 40, x.shape),
        120 + 60 * np.sin(x / 3) * np.cos(y / 5) + rng.integers(-10, 10, x.shape),
    ]
    return Image.fromarray(np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8))


def encoded(image):
    return {"width": image.width, "height": image.height, "rgb": image.tobytes().hex()}


def shortest_crop(image, height, width, crop_pct, filter):
    """timm: the scaled image covers size / crop_pct, then the center is cut."""
    scaled = [math.floor(height / crop_pct), math.floor(width / crop_pct)]
    if scaled[0] * image.width >= scaled[1] * image.height:
        scaled[1] = scaled[0] * image.width // image.height
    else:
        scaled[0] = scaled[1] * image.height // image.width
    image = image.resize((scaled[1], scaled[0]), filter)
    left, top = round((scaled[1] - width) / 2), round((scaled[0] - height) / 2)
    return image.crop((left, top, left + width, top + height))


def resizes(image):
    for name, filter in FILTERS.items():
        for height, width in [(16, 16), (8, 20), (64, 50), (37, 12)]:
            result = image.resize((width, height), filter)
            yield {"filter": name, "crop_pct": None, "result": encoded(result)}
    for crop_pct in (1.0, 0.875):
        for height, width in [(16, 16), (12, 20), (24, 11)]:
            result = shortest_crop(image, height, width, crop_pct, FILTERS["bicubic"])
            yield {"filter": "bicubic", "crop_pct": crop_pct, "result": encoded(result)}


def operations(image):
    def case(name, value, result, filter=None):
        return {"name": name, "value": value, "filter": filter, "result": encoded(result)}

    yield case("autocontrast", 0, ImageOps.autocontrast(image))
    yield case("equalize", 0, ImageOps.equalize(image))
    yield case("invert", 0, ImageOps.invert(image))
    for bits in (4, 6, 7, 8):
        yield case("posterize", bits, ImageOps.posterize(image, bits))
    for threshold in (0, 76, 128, 204):
        yield case("solarize", threshold, ImageOps.solarize(image, threshold))
    for factor in (0.1, 0.46, 0.82, 1.0, 1.54, 1.9):
        yield case("color", factor, ImageEnhance.Color(image).enhance(factor))
        yield case("contrast", factor, ImageEnhance.Contrast(image).enhance(factor))
        yield case("brightness", factor, ImageEnhance.Brightness(image).enhance(factor))
        yield case("sharpness", factor, ImageEnhance.Sharpness(image).enhance(factor))
    for name in ("bilinear", "bicubic"):
        options = {"resample": FILTERS[name], "fillcolor": FILL}
        for degrees in (-27.0, -9.0, 0.0, 12.5, 24.0):
            yield case("rotate", degrees, image.rotate(degrees, **options), name)
        for factor in (-0.3, 0.15):
            x = (1, factor, 0, 0, 1, 0)
            y = (1, 0, 0, factor, 1, 0)
            affine = Image.Transform.AFFINE
            yield case("shear-x", factor, image.transform(image.size, affine, x, **options), name)
            yield case("shear-y", factor, image.transform(image.size, affine, y, **options), name)


def main():
    image = source()
    few = image.crop((3, 3, 11, 12))  # 72 pixels: too few to equalize
    flat = Image.new("RGB", (5, 4), (9, 9, 200))
    print(json.dumps({
        "source": encoded(image),
        "resizes": list(resizes(image)),
        "operations": list(operations(image)),
        "small": [
            {"source": encoded(small), "equalize": encoded(ImageOps.equalize(small)),
             "autocontrast": encoded(ImageOps.autocontrast(small))}
            for small in (few, flat)
        ],
    }, indent=0))


main()

"""Reference values of ufo-eval's detection, computed by pycocotools.

Usage: python detection_reference.py ../../crates/ufo-eval/tests/fixtures/detection.json

Boxes are multiples of a quarter of a pixel, so that single precision holds them. Scores tie within and between
images, true boxes overlap, some are crowds, some have areas of their own, some images have nothing.
"""

import contextlib
import json
import os
import sys

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

IMAGES, CLASSES = 14, 3


def quarter(values):
    return np.round(np.asarray(values) * 4) / 4


def draw(rng):
    truth, found = [], []
    for image in range(IMAGES):
        for _ in range(0 if image == 3 else rng.integers(1, 12)):
            side = quarter(np.exp(rng.uniform(np.log(6), np.log(180), 2)))
            corner = quarter(rng.uniform(0, 300, 2))
            box = [*corner.tolist(), *np.maximum(side, 1).tolist()]
            area = box[2] * box[3] * (0.75 if rng.random() < 0.3 else 1.0)
            crowd = int(rng.random() < 0.12)
            truth.append({"id": len(truth) + 1, "image_id": image, "category_id": int(rng.integers(CLASSES)),
                          "bbox": box, "area": area, "iscrowd": crowd})
            for _ in range(rng.integers(0, 4)):
                moved = quarter(np.array(box) + 0.06 * np.array(box[2:] * 2) * rng.standard_normal(4))
                category = truth[-1]["category_id"] if rng.random() < 0.8 else int(rng.integers(CLASSES))
                found.append((image, category, moved.tolist(), rng.beta(3, 2)))
        for _ in range(rng.integers(0, 6)):
            box = [*quarter(rng.uniform(0, 300, 2)).tolist(), *quarter(rng.uniform(5, 120, 2)).tolist()]
            found.append((image, int(rng.integers(CLASSES)), box, rng.beta(2, 3)))
    found = [{"image_id": i, "category_id": c, "bbox": [b[0], b[1], max(b[2], 0.25), max(b[3], 0.25)],
              "score": round(s * 40) / 40} for i, c, b, s in found]
    order = rng.permutation(len(found))
    return truth, [found[at] for at in order]


def judged(truth, found, most):
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": image} for image in range(IMAGES)],
        "annotations": [dict(one) for one in truth],
        "categories": [{"id": c, "name": str(c)} for c in range(CLASSES)],
    }
    coco.createIndex()
    judge = COCOeval(coco, coco.loadRes([dict(one) for one in found]), "bbox")
    judge.params.maxDets = [1, 2, most]
    judge.evaluate()
    judge.accumulate()
    precision, recall = judge.eval["precision"], judge.eval["recall"]

    def mean(values):
        values = values[values > -1]
        return float(values.mean()) if values.size else None

    # precision[threshold, recall, class, area, most], recall[threshold, class, area, most]
    return {
        "most": most,
        "ap": mean(precision[:, :, :, 0, 2]),
        "ap50": mean(precision[0, :, :, 0, 2]),
        "ap75": mean(precision[5, :, :, 0, 2]),
        "ap_of_size": [mean(precision[:, :, :, area, 2]) for area in (1, 2, 3)],
        "recall": mean(recall[:, :, 0, 2]),
        "ap_of_class": [mean(precision[:, :, c, 0, 2]) for c in range(CLASSES)],
    }


def main():
    truth, found = draw(np.random.default_rng(11))
    with open(os.devnull, "w", encoding="utf-8") as quiet, contextlib.redirect_stdout(quiet):
        results = [judged(truth, found, most) for most in (100, 3)]
    drop = lambda row, keys: {key: value for key, value in row.items() if key not in keys}
    fixture = {"images": IMAGES, "classes": CLASSES, "truth": [drop(row, ["id"]) for row in truth],
               "found": found, "results": results}
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(fixture, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()

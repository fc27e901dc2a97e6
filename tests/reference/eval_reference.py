"""Reference values of crates/ufo-eval, computed by scikit-learn and plain numpy.

Usage: python eval_reference.py ../../crates/ufo-eval/tests/fixtures/reference.json

scikit-learn: top-k, confusion, balanced accuracy, quadratic kappa, ROC, average precision of each
query, the ten folds, intersection over union, logistic regression. numpy: the rest, each written from its definition. All inputs are drawn without
ties where the order of ties would count, and are exact in single precision.
"""

import json
import sys

import numpy as np
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold


def draw(rng, *shape):
    return np.round(rng.standard_normal(shape) * 64) / 64 + rng.integers(0, 1024, shape) / 2**20


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def classification(rng):
    classes = 7
    labels = np.concatenate([np.arange(classes - 1), rng.integers(0, classes - 1, 54)])
    logits = draw(rng, len(labels), classes)
    logits[np.arange(len(labels)), labels] += 0.75
    predictions = logits.argmax(1)
    every = list(range(classes))
    present = sorted(set(labels.tolist()))
    recall = metrics.recall_score(labels, predictions, labels=present, average="macro")
    return {
        "classes": classes,
        "logits": logits.ravel().tolist(),
        "labels": labels.tolist(),
        "top1": metrics.accuracy_score(labels, predictions),
        "top5": metrics.top_k_accuracy_score(labels, logits, k=5, labels=every),
        "mean_per_class": recall,
        "quadratic_kappa": metrics.cohen_kappa_score(labels, predictions, weights="quadratic"),
        "confusion": metrics.confusion_matrix(labels, predictions, labels=every).tolist(),
    }


def roc(rng):
    same = rng.integers(0, 2, 300).astype(bool)
    # Rounded, so that scores tie between and within the two kinds.
    scores = np.round(rng.standard_normal(300) + 1.2 * same, 1)
    far, tar, _ = metrics.roc_curve(same, scores, drop_intermediate=False)
    points = []
    for wanted in [1e-3, 1e-2, 0.05, 0.1, 0.5]:
        distance = np.abs(far - wanted)
        points.append({"wanted": wanted, "far": far[distance.argmin()],
                       "tar": tar[distance == distance.min()].max()})
    # The line FAR = 1 - TAR cuts the curve once.
    excess = far + tar - 1
    after = int(np.argmax(excess >= 0))
    share = -excess[after - 1] / (excess[after] - excess[after - 1])
    return {
        "scores": scores.tolist(),
        "same": same.tolist(),
        "far": far.tolist(),
        "tar": tar.tolist(),
        "points": points,
        "eer": far[after - 1] + share * (far[after] - far[after - 1]),
    }


def verification(rng):
    pairs, dim = 124, 4
    first = draw(rng, pairs, dim)
    same = rng.integers(0, 2, pairs).astype(bool)
    second = np.where(same[:, None], first + 0.5 * draw(rng, pairs, dim), draw(rng, pairs, dim))
    second = second.astype(np.float32).astype(np.float64)
    distances = ((unit(first) - unit(second)) ** 2).sum(1)
    thresholds = np.arange(0, 4, 0.01)
    accuracies, chosen = [], []
    for train, held in KFold(10, shuffle=False).split(distances):
        right = [((distances[train] < t) == same[train]).mean() for t in thresholds]
        best = int(np.argmax(right))
        accuracies.append(((distances[held] < thresholds[best]) == same[held]).mean())
        chosen.append(thresholds[best])
    return {
        "dim": dim,
        "features": np.stack([first, second], 1).ravel().tolist(),
        "same": same.tolist(),
        "distances": distances.tolist(),
        "accuracy": float(np.mean(accuracies)),
        "threshold": float(np.mean(chosen)),
        "fold_accuracies": accuracies,
        "val_at_far": [val_at_far(distances, same, far) for far in [0.02, 0.1, 0.3]],
    }


def val_at_far(distances, same, wanted):
    thresholds = np.arange(0, 4, 0.001)
    vals, fars = [], []
    for train, held in KFold(10, shuffle=False).split(distances):
        different = distances[train][~same[train]]
        far = np.array([(different < t).mean() for t in thresholds])
        # Between the last threshold with at most that rate and the next.
        step = np.flatnonzero(far <= wanted).max()
        share = (wanted - far[step]) / (far[step + 1] - far[step])
        threshold = thresholds[step] + share * (thresholds[step + 1] - thresholds[step])
        vals.append((distances[held][same[held]] < threshold).mean())
        fars.append((distances[held][~same[held]] < threshold).mean())
    return {"wanted": wanted, "val": float(np.mean(vals)), "far": float(np.mean(fars))}


def reid(rng):
    dim, identities = 6, 8
    centers = draw(rng, identities, dim)

    def sightings(count, spread, extra):
        ids = rng.integers(0, identities + extra, count)
        near = centers[ids % identities] + spread * draw(rng, count, dim)
        features = near.astype(np.float32).astype(np.float64)
        return features, ids, rng.integers(0, 3, count)

    query, gallery = sightings(24, 1.0, 2), sightings(60, 1.0, 0)
    sides = {
        name: {"features": side[0].ravel().tolist(), "ids": side[1].tolist(),
               "cameras": side[2].tolist()}
        for name, side in [("query", query), ("gallery", gallery)]
    }
    cosine = 1 - unit(query[0]) @ unit(gallery[0]).T
    euclidean = ((query[0][:, None] - gallery[0][None]) ** 2).sum(2)
    results = {"cosine": judge(cosine, query, gallery), "euclidean": judge(euclidean, query, gallery)}
    return {"dim": dim, **sides, **results}


def judge(distances, query, gallery, ranks=50):
    aps, inps, cmcs, skipped = [], [], [], 0
    for row, (identity, camera) in enumerate(zip(query[1], query[2])):
        kept = ~((gallery[1] == identity) & (gallery[2] == camera))
        relevant = (gallery[1] == identity)[kept]
        if not relevant.any():
            skipped += 1
            continue
        aps.append(metrics.average_precision_score(relevant, -distances[row][kept]))
        hits = np.flatnonzero(relevant[np.argsort(distances[row][kept])])
        inps.append(len(hits) / (hits[-1] + 1))
        cmcs.append(np.arange(ranks) >= hits[0])
    return {"mean_ap": float(np.mean(aps)), "mean_inp": float(np.mean(inps)),
            "cmc": np.mean(cmcs, 0).tolist(), "skipped": skipped}


def retrieval(rng):
    dim, classes = 5, 12
    centers = draw(rng, classes, dim)

    def labeled(count, extra):
        labels = rng.integers(0, classes + extra, count)
        near = centers[labels % classes] + 1.3 * draw(rng, count, dim)
        return near.astype(np.float32).astype(np.float64), labels

    query, gallery = labeled(30, 2), labeled(50, 0)
    ks = [1, 2, 4, 8, 100]
    apart = unit(query[0]) @ unit(gallery[0]).T
    within = unit(gallery[0]) @ unit(gallery[0]).T
    np.fill_diagonal(within, -np.inf)
    return {
        "dim": dim,
        "ks": ks,
        "query": {"features": query[0].ravel().tolist(), "labels": query[1].tolist()},
        "gallery": {"features": gallery[0].ravel().tolist(), "labels": gallery[1].tolist()},
        "recall": recall(apart, query[1], gallery[1], ks, left_out=0),
        "recall_within": recall(within, gallery[1], gallery[1], ks, left_out=1),
    }


def recall(similarities, labels, candidates, ks, left_out):
    order = np.argsort(-similarities, axis=1)
    order = order[:, : order.shape[1] - left_out]
    hits = candidates[order] == labels[:, None]
    return [float(hits[:, :k].any(1).mean()) for k in ks]


def nearest(rng):
    dim = 9
    train, test = rng.integers(0, 256, (40, dim)), rng.integers(0, 256, (25, dim))
    train_labels, test_labels = rng.integers(0, 3, 40), rng.integers(0, 3, 25)
    distances = ((test[:, None] - train[None]) ** 2).sum(2)
    right = train_labels[distances.argmin(1)] == test_labels
    return {"dim": dim, "train": train.ravel().tolist(), "train_labels": train_labels.tolist(),
            "test": test.ravel().tolist(), "test_labels": test_labels.tolist(),
            "accuracy": float(right.mean())}


def segmentation(rng):
    classes, ignore = 5, 255
    truth = rng.integers(0, classes - 1, (3, 60))
    predicted = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, classes - 1, truth.shape))
    truth[rng.random(truth.shape) < 0.1] = ignore
    kept = truth != ignore
    true, said = truth[kept], predicted[kept]
    present = list(range(classes - 1))
    return {
        "classes": classes,
        "truth": truth.tolist(),
        "predicted": predicted.tolist(),
        "mean_iou": metrics.jaccard_score(true, said, labels=present, average="macro"),
        "iou": metrics.jaccard_score(true, said, labels=present, average=None).tolist(),
        "mean_dice": metrics.f1_score(true, said, labels=present, average="macro"),
        "mean_accuracy": metrics.recall_score(true, said, labels=present, average="macro"),
        "pixel_accuracy": metrics.accuracy_score(true, said),
        "confusion": metrics.confusion_matrix(true, said, labels=list(range(classes))).tolist(),
    }


def logistic(rng):
    inputs, classes = 3, 4
    labels = np.arange(120) % classes
    rows = (draw(rng, 120, inputs) + draw(rng, classes, inputs)[labels]).astype(np.float32)
    model = LogisticRegression(tol=1e-10, max_iter=10_000).fit(rows.astype(np.float64), labels)
    return {"inputs": inputs, "classes": classes, "rows": rows.ravel().tolist(),
            "labels": labels.tolist(), "predicted": model.predict(rows).tolist()}


def main():
    protocols = [classification, roc, verification, reid, retrieval, nearest, segmentation, logistic]
    fixture = {
        protocol.__name__: protocol(np.random.default_rng(seed))
        for seed, protocol in enumerate(protocols)
    }
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(fixture, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()

"""`loader-jpeg`: an epoch of 128 JPEG files, decoded, cropped, flipped and normalized into batches; `loader-idx`: an
epoch of the bundled clothes (UFO_BENCH_IDX), padded, cropped, flipped and normalized.

A step is one epoch of torchvision's usual pipeline in a DataLoader of two persistent workers.
"""

import atexit
import gzip
import os
import pathlib
import shutil
import tempfile

import numpy
import PIL
import PIL.Image
import torch
import torchvision
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

import photos

BATCH = 64
WORKERS = 2
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

_worker_ids = []


def folder():
    """The images: in UFO_BENCH_DATA, or in a temporary folder that goes with this process."""
    path = os.environ.get("UFO_BENCH_DATA")
    if not path:
        path = tempfile.mkdtemp(prefix="ufo-bench-")
        owner = os.getpid()
        atexit.register(lambda: os.getpid() == owner and shutil.rmtree(path))
    return photos.write(path)


def others_mb():
    """What the workers hold for themselves; the pages they share with this process are counted there."""
    return sum(private_kb(worker) for worker in _worker_ids) / 1024


def private_kb(process):
    text = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text()
    fields = [line.split() for line in text.splitlines()]
    return sum(int(field[1]) for field in fields if field[0].startswith("Private_"))


class Idx(Dataset):
    """Images as torchvision's MNIST holds them: one array, a PIL image each when it is asked for."""

    def __init__(self, begins, transform):
        images = gzip.decompress(pathlib.Path(f"{begins}-images.idx.gz").read_bytes())
        labels = gzip.decompress(pathlib.Path(f"{begins}-labels.idx.gz").read_bytes())
        self.images = numpy.frombuffer(images, numpy.uint8, offset=16).reshape(-1, 28, 28)
        self.labels = numpy.frombuffer(labels, numpy.uint8, offset=8)
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = PIL.Image.fromarray(self.images[index]).convert("RGB")
        return self.transform(image), int(self.labels[index])


def prepare(name, threads):
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    options = {"num_workers": WORKERS, "persistent_workers": True, "shuffle": True}
    if name == "loader-idx":
        return prepare_idx(options)
    steps = [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, DEVIATION),
    ]
    images = ImageFolder(folder(), transforms.Compose(steps))
    if len(images) != photos.FILES:
        raise ValueError(f"{images.root} holds {len(images)} images, expected {photos.FILES}")
    loader = DataLoader(images, batch_size=BATCH, **options)

    def step():
        seen = sum(len(labels) for _, labels in loader)
        assert seen == photos.FILES, seen

    def facts():
        _worker_ids[:] = [child.pid for child in torch.multiprocessing.active_children()]
        bytes_read = sum(pathlib.Path(path).stat().st_size for path, _ in images.samples)
        return {
            "version": f"torchvision {torchvision.__version__}, Pillow {PIL.__version__}",
            "device": "cpu",
            "workers": WORKERS,
            "batch": BATCH,
            "files": len(images),
            "jpeg_kb": round(bytes_read / len(images) / 1000, 1),
        }

    return step, facts


def prepare_idx(options):
    steps = [
        transforms.RandomCrop(28, padding=2),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, DEVIATION),
    ]
    images = Idx(os.environ["UFO_BENCH_IDX"], transforms.Compose(steps))
    loader = DataLoader(images, batch_size=BATCH, drop_last=True, **options)

    def step():
        assert sum(len(labels) for _, labels in loader) == len(images) // BATCH * BATCH

    def facts():
        _worker_ids[:] = [child.pid for child in torch.multiprocessing.active_children()]
        version = f"torchvision {torchvision.__version__}, Pillow {PIL.__version__}"
        return {"version": version, "device": "cpu", "workers": WORKERS, "images": len(images)}

    return step, facts

"""A small training run in which everything random takes part: the subject of the tests here."""

from __future__ import annotations

import numpy as np

import minidl as md
from minidl import nn, optim
from minidl.data import ArrayDataset, DataLoader
from minidl.metrics import accuracy

SAMPLES, BATCH = 40, 8
BATCHES = SAMPLES // BATCH  # in an epoch


class Images(ArrayDataset):
    """Noise with a bright stripe: its row is the class. Transformed by more noise."""

    def __init__(self, samples=SAMPLES, noise=0.3, seed=0):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 4, samples)
        images = noise * rng.standard_normal((samples, 1, 8, 8)).astype(np.float32)
        images[np.arange(samples), 0, 2 * labels] += 1.0
        super().__init__(images, labels, self.shake)

    @staticmethod
    def shake(images, rng):
        return images + 0.1 * rng.standard_normal(images.shape, dtype=np.float32)


def network(width=4):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(16 * width, 4),
    )


def parts(seed=0, workers=0, width=4, schedule="cosine", device="cpu", epochs=3):
    """The arguments of `fit`, freshly made, as a new process makes them."""
    md.manual_seed(seed)
    model = network(width).to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    total = epochs * BATCHES
    scheduler = {
        "cosine": lambda: optim.lr_scheduler.CosineAnnealingLR(optimizer, total),
        "plateau": lambda: optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0),
        "none": lambda: None,
    }[schedule]()
    return {
        "model": model,
        "optimizer": optimizer,
        "criterion": nn.CrossEntropyLoss(),
        "train": DataLoader(Images(), BATCH, shuffle=True, num_workers=workers, seed=seed),
        "test": DataLoader(Images(12, seed=1), 5),
        "metrics": {"accuracy": accuracy},
        "epochs": epochs,
        "scheduler": scheduler,
        "scheduler_every": "batch" if schedule == "cosine" else "epoch",
        "ema": optim.EMA(model, 0.9),
        "clip_norm": 1.0,
        "progress": False,
    }


def bits(model):
    """Everything that a model's state holds, as bytes."""
    return {name: tensor.cpu().data.tobytes() for name, tensor in model.state_dict().items()}


def untimed(history):
    """A history without what a clock decides."""
    return [
        {k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")}
        for row in history
    ]

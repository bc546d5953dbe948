"""Training samples on a CPU: views and teacher answers that prepare.py stored."""

from pathlib import Path

import numpy as np
import torch

import targets

VALIDATION_STRIDE = 89  # every 89th photo is never trained on


class StoredViews:
    """One worker's part of the shards, in memory. New shards are picked up after each pass."""

    def __init__(self, folder, config, basis, preparation, worker=0, workers=1):
        self.folder, self.basis, self.preparation = Path(folder), basis, preparation
        self.worker, self.workers = worker, workers
        self.validation_count = config["train"]["validation_photos"]
        self.seen, self.pixels, self.maps, self.offsets = set(), [], [], np.zeros(1, np.int64)
        self.targets = np.zeros((0, basis["basis"].shape[1]), np.float32)
        self.training, self.held_out = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.rng = np.random.default_rng([config["seed"], worker])
        self._start_pass()

    def count(self):
        return len(self.training) * self.workers

    def batch(self, count, size):
        """Network input at `size` pixels, target embeddings and target maps of the next `count` views."""
        if self.position + count > len(self.order):
            self._start_pass()
        rows = self.order[self.position:self.position + count]
        self.position += count
        x, maps = self.preparation.augmented(self._gather(self.pixels, rows).permute(0, 3, 1, 2),
                                             self._gather(self.maps, rows).float(), size)
        return x, torch.from_numpy(self.targets[rows]), maps

    def bank(self, count):
        return torch.from_numpy(self.targets[self.training[self.rng.integers(len(self.training), size=count)]])

    def calibration(self, count):
        """Network input and targets of the first `count` training views."""
        rows = self.training[:count]
        return (self.preparation.plain(self._gather(self.pixels, rows).permute(0, 3, 1, 2).float()),
                torch.from_numpy(self.targets[rows]))

    def validation(self):
        """Batches of (network input, target) of photos that are never trained on, center crops."""
        rows = self.held_out[:self.validation_count]
        for start in range(0, len(rows), 64):
            part = rows[start:start + 64]
            pixels = self._gather(self.pixels, part).permute(0, 3, 1, 2).float()
            yield self.preparation.plain(pixels), torch.from_numpy(self.targets[part])

    def _start_pass(self):
        for path in sorted(self.folder.glob("shard-*.npz")):
            number, maker = map(int, path.stem.split("-")[1:])
            if path in self.seen or (number + maker) % self.workers != self.worker:
                continue
            self.seen.add(path)
            shard = np.load(path)
            self.pixels.append(shard["pixels"])
            self.maps.append(shard["map"])
            rows = self.offsets[-1] + np.arange(len(self.pixels[-1]))
            self.offsets = np.append(self.offsets, rows[-1] + 1)
            self.targets = np.concatenate([self.targets, targets.to_targets(shard["embedding"], self.basis)])
            kept_back = shard["photo"] % VALIDATION_STRIDE == 0
            self.training = np.append(self.training, rows[~kept_back])
            self.held_out = np.append(self.held_out, rows[kept_back & (shard["view"] == 0)])
        self.order, self.position = self.rng.permutation(self.training), 0

    def _gather(self, shards, rows):
        """Rows of a list of arrays as if it were one array."""
        places = np.searchsorted(self.offsets, rows, side="right") - 1
        picked = [shards[place][row - self.offsets[place]] for place, row in zip(places, rows)]
        return torch.from_numpy(np.stack(picked))


def fit_basis(folder, dim):
    embeddings = [np.load(path)["embedding"] for path in sorted(Path(folder).glob("shard-*.npz"))]
    return targets.fit_basis(np.concatenate(embeddings), dim)

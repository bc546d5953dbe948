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
        self.seen, self.pixels, self.targets, self.maps = set(), [], [], []
        self.training, self.held_out = np.zeros((0, 2), np.int64), []
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
        maps = torch.from_numpy(np.stack([self.maps[shard][row] for shard, row in rows])).float()
        x, maps = self.preparation.augmented(self._pixels(rows), maps, size)
        return x, self._targets(rows), maps

    def bank(self, count):
        return self._targets(self.training[self.rng.integers(len(self.training), size=count)])

    def validation(self):
        """Batches of (network input, target) of photos that are never trained on, center crops."""
        rows = self.held_out[:self.validation_count]
        for start in range(0, len(rows), 64):
            part = rows[start:start + 64]
            yield self.preparation.plain(self._pixels(part)), self._targets(part)

    def _start_pass(self):
        rows = [self.training]
        for path in sorted(self.folder.glob("shard-*.npz")):
            number, maker = map(int, path.stem.split("-")[1:])
            if path in self.seen or (number + maker) % self.workers != self.worker:
                continue
            self.seen.add(path)
            shard = np.load(path)
            index, held_out = len(self.pixels), shard["photo"] % VALIDATION_STRIDE == 0
            self.pixels.append(shard["pixels"])
            self.targets.append(targets.to_targets(shard["embedding"], self.basis))
            self.maps.append(shard["map"])
            kept = np.flatnonzero(~held_out)
            rows.append(np.stack([np.full(len(kept), index), kept], 1))
            self.held_out += [(index, row) for row in np.flatnonzero(held_out & (shard["view"] == 0))]
        self.training = np.concatenate(rows)
        self.order, self.position = self.rng.permutation(self.training), 0

    def _pixels(self, rows):
        pixels = np.stack([self.pixels[shard][row] for shard, row in rows])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()

    def _targets(self, rows):
        return torch.from_numpy(np.stack([self.targets[shard][row] for shard, row in rows]))


def fit_basis(folder, dim):
    embeddings = [np.load(path)["embedding"] for path in sorted(Path(folder).glob("shard-*.npz"))]
    return targets.fit_basis(np.concatenate(embeddings), dim)

"""What the student is to learn: teacher embeddings as unit vectors in PCA order, and how well it does."""

import numpy as np
import torch
from torch.nn import functional as F


def fit_basis(embeddings, dim):
    """PCA of unit-length teacher embeddings. A prefix of the result is already a sketch of the whole."""
    embeddings = np.asarray(embeddings, np.float64)
    mean = embeddings.mean(0)
    centered = embeddings - mean
    variance, basis = np.linalg.eigh(centered.T @ centered / len(centered))
    basis = basis[:, ::-1][:, :dim]
    # A sign of its own for every run would make two trainings needlessly different.
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(dim)])
    return {"mean": mean.astype(np.float32), "basis": np.ascontiguousarray(basis, np.float32)}


def to_targets(embeddings, basis):
    targets = (np.asarray(embeddings, np.float32) - basis["mean"]) @ basis["basis"]
    return targets / (np.linalg.norm(targets, axis=1, keepdims=True) + 1e-9)


def agreement(embeddings, targets, k=5):
    """Mean cosine to the target, and the share of each photo's k nearest neighbors that both agree on."""
    embeddings = F.normalize(embeddings)
    cosine = (embeddings * targets).sum(1).mean().item()

    def neighbors(vectors):
        similarity = vectors @ vectors.T
        similarity.fill_diagonal_(-torch.inf)
        return similarity.topk(k).indices.tolist()

    shared = [len(set(a) & set(b)) / k for a, b in zip(neighbors(embeddings), neighbors(targets))]
    return cosine, float(np.mean(shared))

"""Edits that a photo goes through in real life. The target stays that of the unedited view, so that the
student learns to find the edited copy."""

import torch
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)


def edit(x, share):
    """Edits a random `share` of x, float [N, 3, S, S] in 0..255. Half of them also become a closer crop, an
    eighth a low-resolution copy."""
    count, size, device = len(x), x.shape[-1], x.device
    chosen = torch.nonzero(torch.rand(count, device=device) < share).flatten()
    edited = x[chosen]
    n = len(chosen)
    if n < 8:
        return x

    def uniform(low, high, channels=1):
        return low + (high - low) * torch.rand(n, channels, 1, 1, device=device)

    def some(probability):
        return torch.rand(n, 1, 1, 1, device=device) < probability

    luma = (edited * torch.tensor(LUMA, device=device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    edited = torch.where(some(0.4), luma.expand_as(edited), edited * uniform(0.88, 1.12, 3))
    edited = torch.where(some(0.6), edited * torch.exp(uniform(-0.6, 0.55)), edited)
    average = edited.mean((1, 2, 3), keepdim=True)
    edited = ((edited - average) * uniform(0.75, 1.3) + average).clamp(0, 255)

    def stretch(part):
        return F.interpolate(part, size=(size, size), mode="bilinear", align_corners=False)

    eighth = n // 8
    small = int(size * (0.35 + 0.45 * torch.rand(()).item()))
    low = F.interpolate(edited[:eighth], size=(small, small), mode="bilinear", antialias=True)
    edited[:eighth] = stretch(low)
    for part in range(1, 5):  # a crop of its own for every eighth
        side = int(size * (0.72 + 0.25 * torch.rand(()).item()))
        left, top = (int((size - side + 1) * torch.rand(()).item()) for _ in range(2))
        rows = slice(part * eighth, (part + 1) * eighth)
        edited[rows] = stretch(edited[rows, :, top:top + side, left:left + side])

    x[chosen] = edited
    return x

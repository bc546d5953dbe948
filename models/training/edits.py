"""Edits that a photo goes through in real life. The target stays that of the unedited view, so that the
student learns to find the edited copy."""

import torch
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)


def edit(x, share):
    """Edits a random `share` of x, float [N, 3, S, S] in 0..255. Part of them also become a closer crop or a
    low-resolution copy."""
    count, size, device = len(x), x.shape[-1], x.device
    chosen = torch.nonzero(torch.rand(count, device=device) < share).flatten()
    edited = x[chosen]
    n = len(chosen)
    if n < 4:
        return x

    def uniform(low, high, channels=1):
        return low + (high - low) * torch.rand(n, channels, 1, 1, device=device)

    def some(probability):
        return torch.rand(n, 1, 1, 1, device=device) < probability

    luma = (edited * torch.tensor(LUMA, device=device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    edited = torch.where(some(0.3), luma.expand_as(edited), edited * uniform(0.88, 1.12, 3))
    edited = torch.where(some(0.6), edited * torch.exp(uniform(-0.6, 0.55)), edited)
    average = edited.mean((1, 2, 3), keepdim=True)
    edited = ((edited - average) * uniform(0.75, 1.3) + average).clamp(0, 255)

    quarter = n // 4
    small = int(size * (0.35 + 0.45 * torch.rand(()).item()))
    low = F.interpolate(edited[:quarter], size=(small, small), mode="bilinear", antialias=True)
    edited[:quarter] = F.interpolate(low, size=(size, size), mode="bilinear", align_corners=False)
    side = int(size * (0.78 + 0.2 * torch.rand(()).item()))
    left, top = (int((size - side + 1) * torch.rand(()).item()) for _ in range(2))
    crop = edited[quarter:2 * quarter, :, top:top + side, left:left + side]
    edited[quarter:2 * quarter] = F.interpolate(crop, size=(size, size), mode="bilinear", align_corners=False)

    x[chosen] = edited
    return x

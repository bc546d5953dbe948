"""Muon (Jordan et al. 2024): momentum whose every matrix is made orthogonal before it is applied.

Its authors report that it learns more from a sample than AdamW does; here the two were not compared. The step is
scaled to the size that AdamW's would have (Liu et al. 2025, "Muon is scalable for LLM training"), so that one
learning rate can serve both.
"""

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, from the reference implementation
ITERATIONS = 5


def orthogonal(matrix):
    """Nearly the closest matrix whose singular values are all 1, by Newton-Schulz iteration. It needs no
    precision, so that bfloat16 is enough."""
    a, b, c = COEFFICIENTS
    x = (matrix.T if matrix.shape[0] > matrix.shape[1] else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + torch.addmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """For weights of convolutions: [outputs, inputs, height, width] is the matrix [outputs, the rest]."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                velocity = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                direction = parameter.grad.lerp(velocity, group["momentum"]).flatten(1)
                step = orthogonal(direction) * (0.2 * max(direction.shape) ** 0.5)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(step.view_as(parameter), alpha=-group["lr"])

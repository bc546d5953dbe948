"""Reads an exported encoder back, so that a later run goes on from the file that is shipped.

Export folds every batch normalization into its convolution and turns the embedding into PCA order. Here both are
undone: the normalizations get the statistics that the convolutions show on some views, with a gain and bias
that leave every answer as it was, and the embedding is turned back to the targets.
"""

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional as F

from student import ConvNorm


@torch.no_grad()
def load_exported(student, path, inputs, targets):
    """`inputs` and `targets` are some hundred views. The map head, which is not exported, stays at its start."""
    weights = {tensor.name.removesuffix("_fp16"): torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32))
               for tensor in onnx.load(path).graph.initializer}
    layers = {exported_name(name): layer for name, layer in student.named_modules() if isinstance(layer, ConvNorm)}
    wanted = {f"{name}.{part}" for name in [*layers, "embed"] for part in ("weight", "bias")}
    if wanted != set(weights):
        raise SystemExit(f"{path} is of another network: {sorted(wanted ^ set(weights))[:4]}")

    for name, (conv, norm, *_) in layers.items():
        conv.weight.copy_(weights[f"{name}.weight"])
        norm.register_forward_pre_hook(Unfolding(weights[f"{name}.bias"]))
    student.embed.weight.copy_(weights["embed.weight"])
    student.embed.bias.copy_(weights["embed.bias"])
    student.eval()
    answers = F.normalize(student(inputs)).double()
    for _, norm, *_ in layers.values():
        norm._forward_pre_hooks.clear()

    left, _, right = torch.linalg.svd(answers.T @ targets.double())
    rotation = (left @ right).T  # orthogonal Procrustes: answers @ rotation.T is closest to targets
    student.embed.weight.copy_(rotation @ student.embed.weight.double())
    student.embed.bias.copy_(rotation @ student.embed.bias.double())
    student.train()


class Unfolding:
    """Sets a normalization, as its input first comes by, to add `bias` and do nothing else."""

    def __init__(self, bias):
        self.bias = bias

    def __call__(self, norm, inputs):
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.copy_(mean + self.bias.to(mean.device))


def exported_name(module):
    """The name that export.py gives a layer: stages.1.0.path.2 -> stage1.0.2."""
    return module.replace("stages.", "stage").replace(".path.", ".")

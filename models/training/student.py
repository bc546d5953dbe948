"""The student: a small residual network of dense convolutions.

Only Conv, Relu, Add, GlobalAveragePool, Flatten and Gemm are left once batch normalization is folded. Dense
narrow convolutions instead of MobileNet's depthwise ones: on a CPU they train several times faster per
operation, and they are no slower to run.
"""

import torch
from torch import nn
from torch.nn import functional as F


class ConvNorm(nn.Sequential):
    def __init__(self, inputs, outputs, kernel, stride=1, relu=True):
        layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Block(nn.Module):
    """A residual block. It starts as the identity where it can, so that blocks may be added to a trained net."""

    def __init__(self, inputs, outputs, inner, stride, bottleneck):
        super().__init__()
        if bottleneck:
            self.path = nn.Sequential(ConvNorm(inputs, inner, 1), ConvNorm(inner, inner, 3, stride),
                                      ConvNorm(inner, outputs, 1, relu=False))
        else:
            self.path = nn.Sequential(ConvNorm(inputs, inner, 3, stride), ConvNorm(inner, outputs, 3, relu=False))
        self.shortcut = None
        if stride > 1 or inputs != outputs:
            self.shortcut = ConvNorm(inputs, outputs, 1, stride, relu=False)
        else:
            nn.init.zeros_(self.path[-1][1].weight)

    def forward(self, x):
        return F.relu(self.path(x) + (x if self.shortcut is None else self.shortcut(x)), inplace=True)


# Per stage: output width, inner width, first stride, bottleneck or two 3x3.
STAGES = [(32, 32, 1, False), (80, 80, 2, False), (256, 80, 2, True), (512, 128, 2, True)]


class Student(nn.Module):
    """Normalized RGB [N, 3, S, S] in, embedding [N, dim] out (not unit length; compare by cosine)."""

    def __init__(self, dim, blocks, top, map_dim):
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, 16, 3, 2), ConvNorm(16, 32, 3, 2))
        width, self.stages = 32, nn.ModuleList()
        for count, (outputs, inner, stride, bottleneck) in zip(blocks, STAGES, strict=True):
            stage = nn.Sequential()
            for number in range(count):
                stage.append(Block(width, outputs, inner, stride if number == 0 else 1, bottleneck))
                width = outputs
            self.stages.append(stage)
        self.top = ConvNorm(width, top, 1)  # what is pooled is wide, as the teacher's last map is
        self.embed = nn.Linear(top, dim)
        self.map_head = nn.Conv2d(top, map_dim, 1)  # for training alone; export leaves it out

    def features(self, x):
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.top(x)

    def forward(self, x):
        return self.embed(self.features(x).mean((2, 3)))

    def with_map(self, x, grid):
        """Embedding, and the prediction of the teacher's map [N, grid * grid, map_dim]."""
        features = self.features(x)
        cells = F.adaptive_avg_pool2d(self.map_head(features), grid)
        return self.embed(features.mean((2, 3))), cells.flatten(2).transpose(1, 2)

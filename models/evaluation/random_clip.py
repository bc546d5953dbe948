#!/usr/bin/env python3
"""Writes a dual encoder of the shape of CLIP ViT-B/32 at 256 pixels with random weights: it finds nothing, and takes as much
memory and time as the real one. `random_clip.py FOLDER` writes `visual.onnx` (351 MB), `textual.onnx` (254 MB) and a manifest
for the first there. Needs `pip install onnx numpy`.
"""

import hashlib
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Writer:
    def __init__(self):
        self.nodes, self.weights, self.random = [], [], np.random.default_rng(1)
        self.count = 0

    def name(self):
        self.count += 1
        return f"t{self.count}"

    def weight(self, *shape, scale=0.02, around=0.0):
        values = self.random.standard_normal(shape, dtype=np.float32) * np.float32(scale) + np.float32(around)
        return self.constant(values)

    def constant(self, values):
        name = self.name()
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op, *inputs, **attributes):
        name = self.name()
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def dense(self, data, inputs, outputs):
        product = self.node("MatMul", data, self.weight(inputs, outputs))
        return self.node("Add", product, self.weight(outputs))

    def norm(self, data, width):
        return self.node(
            "LayerNormalization", data, self.weight(width, around=1.0), self.weight(width), axis=-1, epsilon=1e-5
        )

    def attention(self, data, width, heads, mask):
        three = self.dense(data, width, 3 * width)
        parts = [self.name() for _ in range(3)]
        self.nodes.append(helper.make_node("Split", [three], parts, axis=-1, num_outputs=3))
        shape = self.constant(np.array([0, 0, heads, width // heads], dtype=np.int64))
        q, k, v = (self.node("Reshape", part, shape) for part in parts)
        q = self.node("Transpose", q, perm=[0, 2, 1, 3])
        k = self.node("Transpose", k, perm=[0, 2, 3, 1])
        v = self.node("Transpose", v, perm=[0, 2, 1, 3])
        scale = self.constant(np.float32((width // heads) ** -0.5))
        agreement = self.node("MatMul", self.node("Mul", q, scale), k)
        if mask:
            agreement = self.node("Add", agreement, mask)
        mixed = self.node("MatMul", self.node("Softmax", agreement, axis=-1), v)
        mixed = self.node("Transpose", mixed, perm=[0, 2, 1, 3])
        mixed = self.node("Reshape", mixed, self.constant(np.array([0, 0, width], dtype=np.int64)))
        return self.dense(mixed, width, width)

    def transformer(self, data, width, heads, layers, mask=None):
        for _ in range(layers):
            data = self.node("Add", data, self.attention(self.norm(data, width), width, heads, mask))
            hidden = self.dense(self.norm(data, width), width, 4 * width)
            # The exact GELU, as PyTorch writes it.
            bent = self.node("Erf", self.node("Div", hidden, self.constant(np.float32(2**0.5))))
            bent = self.node("Add", bent, self.constant(np.float32(1.0)))
            hidden = self.node("Mul", self.node("Mul", hidden, bent), self.constant(np.float32(0.5)))
            data = self.node("Add", data, self.dense(hidden, 4 * width, width))
        return data

    def save(self, path, source, end):
        self.nodes.append(helper.make_node("Identity", [end], ["output"]))
        output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 512])
        graph = helper.make_graph(self.nodes, "random", [source], [output], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        onnx.save(model, path)


def visual(path, side=256, patch=32, width=768, heads=12, layers=12):
    w = Writer()
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, side, side])
    patches = w.node("Conv", "input", w.weight(width, 3, patch, patch), kernel_shape=[patch] * 2, strides=[patch] * 2)
    patches = w.node("Reshape", patches, w.constant(np.array([0, width, -1], dtype=np.int64)))
    patches = w.node("Transpose", patches, perm=[0, 2, 1])
    tokens = w.node("Concat", w.weight(1, 1, width), patches, axis=1)
    tokens = w.node("Add", tokens, w.weight((side // patch) ** 2 + 1, width))
    tokens = w.transformer(w.norm(tokens, width), width, heads, layers)
    first = w.node("Gather", tokens, w.constant(np.int64(0)), axis=1)
    w.save(path, source, w.node("MatMul", w.norm(first, width), w.weight(width, 512)))


def textual(path, length=77, words=49408, width=512, heads=8, layers=12):
    w = Writer()
    source = helper.make_tensor_value_info("input", TensorProto.INT64, ["n", length])
    tokens = w.node("Gather", w.weight(words, width), "input", axis=0)
    tokens = w.node("Add", tokens, w.weight(length, width))
    mask = np.triu(np.full((length, length), -np.inf, dtype=np.float32), 1)
    tokens = w.norm(w.transformer(tokens, width, heads, layers, w.constant(mask)), width)
    # The end of the text is the token with the greatest number.
    end = w.node("ArgMax", "input", axis=-1, keepdims=0)
    one_hot = w.node("OneHot", end, w.constant(np.int64(length)), w.constant(np.array([0, 1], dtype=np.float32)), axis=-1)
    picked = w.node("MatMul", w.node("Unsqueeze", one_hot, w.constant(np.array([1], dtype=np.int64))), tokens)
    picked = w.node("Squeeze", picked, w.constant(np.array([1], dtype=np.int64)))
    w.save(path, source, w.node("MatMul", picked, w.weight(width, 512)))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    visual(folder / "visual.onnx")
    textual(folder / "textual.onnx")
    digest = hashlib.sha256((folder / "visual.onnx").read_bytes()).hexdigest()
    (folder / "visual.toml").write_text(f"""name = "random_clip"
title = "the shape of CLIP ViT-B/32 with random weights"
licence = "none"
output = "output"
dim = 512
metric = "cosine"

[preprocessing]
resize_short_side = 256
crop = 256
mean = [0.48145466, 0.4578275, 0.40821073]
std = [0.26862954, 0.26130258, 0.27577711]

[[source]]
file = "visual.onnx"
sha256 = "{digest}"
""")


if __name__ == "__main__":
    main()

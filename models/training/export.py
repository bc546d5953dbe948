#!/usr/bin/env python3
"""Checkpoint in, builtin.onnx and builtin.json out.

    export.py CHECKPOINT --views DIR --out DIR

Batch normalization is folded into the convolutions, weights are stored as fp16 behind Cast nodes (half the
bytes, the same fp32 arithmetic), and the embedding is rotated into PCA order over the views, so that its first
n numbers are the best sketch of n numbers. A rotation leaves every cosine as it was.

The files are written only after ONNX Runtime gave what torch gives. `builtin.json` comes last, so whoever
finds it finds the matching model beside it.
"""

import argparse
import hashlib
import json
import os
import tomllib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from student import Block
from train import Preparation, load_weights, new_student


class Graph:
    """Collects nodes and weights of the ONNX graph."""

    def __init__(self):
        self.casts, self.nodes, self.weights = [], [], []

    def weight(self, values, name):
        values = np.ascontiguousarray(values, np.float32)
        if values.ndim == 1:  # biases are few, and rounding them is not free
            self.weights.append(numpy_helper.from_array(values, name))
        else:
            self.weights.append(numpy_helper.from_array(values.astype(np.float16), name + "_fp16"))
            self.casts.append(helper.make_node("Cast", [name + "_fp16"], [name], to=TensorProto.FLOAT))
        return name

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def convolution(self, layer, source, name):
        """A ConvNorm with its normalization folded in."""
        conv, norm = layer[0], layer[1]
        gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).double()
        weight = conv.weight.double() * gain.view(-1, 1, 1, 1)
        bias = norm.bias.double() - norm.running_mean.double() * gain
        output = self.node("Conv", [source, self.weight(weight, name + ".weight"), self.weight(bias, name + ".bias")],
                           name, kernel_shape=list(conv.kernel_size), strides=list(conv.stride),
                           pads=list(conv.padding) * 2)
        return self.node("Relu", [output], name + ".relu") if len(layer) == 3 else output

    def block(self, block, source, name):
        path = source
        for number, layer in enumerate(block.path):
            path = self.convolution(layer, path, f"{name}.{number}")
        shortcut = source
        if block.shortcut is not None:
            shortcut = self.convolution(block.shortcut, source, f"{name}.shortcut")
        return self.node("Relu", [self.node("Add", [path, shortcut], f"{name}.add")], f"{name}.relu")


@torch.no_grad()
def to_onnx(student, size):
    graph, x = Graph(), "input"
    for number, layer in enumerate(student.stem):
        x = graph.convolution(layer, x, f"stem.{number}")
    for stage_number, stage in enumerate(student.stages):
        for number, block in enumerate(stage):
            assert isinstance(block, Block)
            x = graph.block(block, x, f"stage{stage_number}.{number}")
    x = graph.convolution(student.top, x, "top")
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x], "pooled")], "flat", axis=1)
    graph.node("Gemm", [x, graph.weight(student.embed.weight, "embed.weight"),
                        graph.weight(student.embed.bias, "embed.bias")], "embedding", transB=1)
    onnx_graph = helper.make_graph(
        graph.casts + graph.nodes, "builtin",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, size, size])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", student.embed.out_features])],
        graph.weights)
    model = helper.make_model(onnx_graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8,
                              producer_name="resembled")
    onnx.checker.check_model(model, full_check=True)
    return model


@torch.no_grad()
def rotate_into_pca_order(student, inputs):
    outputs = torch.cat([F.normalize(student(x)) for x in inputs.split(64)]).double()
    _, directions = torch.linalg.eigh(outputs.T @ outputs)
    rotation = directions.flip(1).T
    student.embed.weight.copy_(rotation @ student.embed.weight.double())
    student.embed.bias.copy_(rotation @ student.embed.bias.double())


def read_views(folder, count):
    pixels = []
    for path in sorted(Path(folder).glob("shard-*.npz")):
        shard = np.load(path)
        pixels.append(shard["pixels"][::8])
        if sum(map(len, pixels)) >= count:
            break
    return torch.from_numpy(np.concatenate(pixels)[:count]).permute(0, 3, 1, 2).float()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--views", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--config", default=Path(__file__).with_name("config.toml"))
    arguments = parser.parse_args()
    config = tomllib.loads(Path(arguments.config).read_text())
    size, out = config["preprocessing"]["size"], Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # little to do, and no waiting for a busy core

    checkpoint = torch.load(arguments.checkpoint, weights_only=True)
    student = new_student(config).eval()
    load_weights(student, checkpoint["average"])
    inputs = Preparation(config, "cpu").plain(read_views(arguments.views, 1024))
    rotate_into_pca_order(student, inputs)

    data = to_onnx(student, size).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    sample = inputs[:32].contiguous()
    with torch.no_grad():
        wanted = student(sample)
    got = torch.from_numpy(session.run(None, {"input": sample.numpy()})[0])
    single = torch.from_numpy(session.run(None, {"input": sample[:1].numpy()})[0])
    worst = F.cosine_similarity(wanted, got).min().item()
    if worst < 0.9999 or F.cosine_similarity(got[:1], single).item() < 0.99999:
        raise SystemExit(f"ONNX Runtime disagrees with torch: cosine {worst}")

    manifest = {
        "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "input": "input", "output": "embedding",
        "input_size": size, "resize_short_side": config["preprocessing"]["short_side"],
        "resize": "antialiased bilinear (Pillow BILINEAR on the full image), then center crop", "scale": "1/255",
        "mean": config["preprocessing"]["mean"], "std": config["preprocessing"]["std"], "layout": "NCHW, RGB",
        "dim": config["student"]["dim"], "metric": "cosine", "ordered_prefix": True,
        "trained_samples": checkpoint["samples"], "lowest_cosine_torch_to_onnx": round(worst, 7),
    }
    for name, content in (("builtin.onnx", data), ("builtin.json", (json.dumps(manifest, indent=1) + "\n").encode())):
        (out / f".{name}").write_bytes(content)
        os.replace(out / f".{name}", out / name)
    print(f"{len(data)} bytes, lowest cosine torch to ONNX {worst:.7f}")


if __name__ == "__main__":
    main()

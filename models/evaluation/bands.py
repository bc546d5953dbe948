#!/usr/bin/env python3
"""Measures where the bands of a network lie, and prints them for its manifest.

    models/evaluation/bands.py models/mobilenet_v2/manifest.toml --model FILE.onnx [--output TENSOR] [--photos ../shared/photos]

What is near is decided by looking at both photos, see `verify.py`; `near` and `near_share` hold until that is done, and `similar` says
which photos are looked at.

Needs `pip install numpy onnxruntime pillow`. The folder holds `neardup/GROUP/` (shots of one scene) and
`classes/CLASS/`; no photo is in two of the folders. There are no synthetic copies among them: whether a photo is a copy is
decided by what it looks like, and no easy pair pays for a wrong one.

`near` are shots of one scene. A pair is near within a distance (`near`) that is besides at most a share (`near_share`) of the
geometric mean of both photos' distances to their tenth nearest. The tables say how many of all pairs of shots are found
where 0.99, 0.95 and 0.9 of what is found is right: by the distance, by the share, and by the share with the landmarks left
out, which were photographed from afar. `similar` and `related` reach as far as 0.9 and 0.5 of the pairs within are of one class.
"""

import argparse
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

SHARES = {"similar": 0.9, "related": 0.5}
PRECISIONS = (0.99, 0.95, 0.9)
NEIGHBOR = 10


def with_output(model, tensor):
    """A classifier has its embedding inside: `pip install onnx` to take it out."""
    if not tensor or tensor in [output.name for output in onnxruntime.InferenceSession(model).get_outputs()]:
        return model
    import onnx

    network = onnx.load(model)
    network.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    return network.SerializeToString()


class Network:
    def __init__(self, manifest, model, output):
        self.preprocessing = manifest["preprocessing"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(with_output(model, output), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output] if output else None
        side, dim = self.preprocessing["crop"], manifest["dim"]
        found = self.embed(Image.new("RGB", (side, side))).size
        if found != dim:
            raise SystemExit(f"{found} numbers instead of {dim}: name the tensor that is the embedding with --output")

    def embed(self, photo):
        short, crop = self.preprocessing["resize_short_side"], self.preprocessing["crop"]
        width, height = photo.size
        if width <= height:
            size = (short, short * height // width)
        else:
            size = (short * width // height, short)
        photo = photo.resize(size, Image.Resampling.BILINEAR)
        left, top = round((size[0] - crop) / 2), round((size[1] - crop) / 2)
        pixels = np.asarray(photo.crop((left, top, left + crop, top + crop)), np.float32) / 255
        mean, std = (np.array(self.preprocessing[key], np.float32) for key in ("mean", "std"))
        tensor = ((pixels - mean) / std).transpose(2, 0, 1)[None]
        return self.session.run(self.outputs, {self.input: tensor})[0].reshape(-1)


def reach(distances, right, share):
    """Returns the greatest distance within which `share` of the pairs are right, and the recall there."""
    order = np.argsort(distances, kind="stable")
    distances, right = distances[order], right[order]
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    good = np.flatnonzero(precision >= share)
    if not len(good):
        return 0.0, 0.0
    return float(distances[good[-1]]), float(right[: good[-1] + 1].sum() / right.sum())


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("manifest", type=Path)
    arguments.add_argument("--model", required=True)
    arguments.add_argument("--output")
    arguments.add_argument("--photos", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "photos")
    arguments = arguments.parse_args()
    manifest = tomllib.loads(arguments.manifest.read_text())
    network = Network(manifest, arguments.model, arguments.output)

    vectors, scenes, classes = [], [], []
    files = sorted(arguments.photos.glob("neardup/*/*")) + sorted(arguments.photos.glob("classes/*/*"))
    for number, file in enumerate(files):
        vectors.append(network.embed(ImageOps.exif_transpose(Image.open(file)).convert("RGB")))
        near = file.parts[-3] == "neardup"
        scenes.append(file.parent.name if near else f"photo {number}")
        classes.append(f"photo {number}" if near else file.parent.name)
    vectors = np.stack(vectors).astype(np.float64)
    is_landmark = np.array([scene.startswith("landmark") for scene in scenes])
    scenes, classes = (np.unique(names, return_inverse=True)[1] for names in (scenes, classes))

    dot = vectors @ vectors.T
    squared = np.diag(dot)
    upper = np.triu_indices(len(vectors), 1)
    near = (scenes[:, None] == scenes)[upper]
    far_shots = (is_landmark[:, None] & is_landmark)[upper] & near
    alike = near | (classes[:, None] == classes)[upper]
    distances = {
        "l2": np.sqrt(np.maximum(squared[:, None] + squared[None] - 2 * dot, 0)),
        "cosine": 1 - dot / np.sqrt(squared[:, None] * squared[None]),
    }
    print(f"# {len(files)} photos, {len(near)} pairs, {near.sum()} of them shots of one scene, {far_shots.sum()} of those of landmarks")
    for metric, square in distances.items():
        others = square.copy()
        np.fill_diagonal(others, np.inf)
        radius = np.partition(others, NEIGHBOR - 1, axis=1)[:, NEIGHBOR - 1]
        values, share = square[upper], (square / np.sqrt(radius[:, None] * radius))[upper]
        print(f"\n[bands.{metric}]")
        signals = {
            "distance": (values, np.ones_like(near)),
            "share": (share, np.ones_like(near)),
            "share without landmarks": (share, ~far_shots),
        }
        for name, (signal, meant) in signals.items():
            found = [reach(signal[meant], near[meant], precision) for precision in PRECISIONS]
            print(f"# {name}: " + ", ".join(f"{recall:.3f} at {p} ({limit:.4g})" for p, (limit, recall) in zip(PRECISIONS, found)))
        bands = manifest["bands"].get(metric, {})
        within = values <= bands.get("near", -1)
        for name, is_near in (("near", within), ("near and near_share", within & (share <= bands.get("near_share", np.inf)))):
            if is_near.any():
                print(f"# in force, {name}: {near[is_near].mean():.3f} right, {near[is_near].sum() / near.sum():.3f} found")
        for name, precision in SHARES.items():
            distance, recall = reach(values, alike, precision)
            print(f"{name} = {distance:.4g}  # {precision} of the pairs within are right; {recall:.3f} of the right ones are within")


if __name__ == "__main__":
    main()

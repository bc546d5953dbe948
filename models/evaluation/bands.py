#!/usr/bin/env python3
"""Measures where the bands of a network lie, and prints them for its manifest.

    models/evaluation/bands.py models/mobilenet_v2/manifest.toml --model FILE.onnx [--output TENSOR] [--photos ../shared/photos]

Needs `pip install numpy onnxruntime pillow`. The folder holds `neardup/GROUP/` (shots of one scene) and
`classes/CLASS/`; no photo is in two of the folders. A band reaches as far as a share of the pairs within it are right:

    same     a photo and a copy of it, scaled or recompressed            0.99
    near     those, and shots of one scene                               0.99
    similar  those, and photos of one class                              0.9
    related  the same                                                    0.5

Every other pair of photos counts as wrong, the shots of one scene too for `same`. A photo has five copies and about
two thousand other photos, so a share of right pairs is earned against four hundred times as many wrong ones.
"""

import argparse
import io
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

COPIES = {
    "half": lambda photo: scaled(photo, 0.5),
    "three quarters": lambda photo: scaled(photo, 0.75),
    "quality 70": lambda photo: recompressed(photo, 70),
    "quality 40": lambda photo: recompressed(photo, 40),
    "half, quality 60": lambda photo: recompressed(scaled(photo, 0.5), 60),
}
SHARES = {"same": 0.99, "near": 0.99, "similar": 0.9, "related": 0.5}


def scaled(photo, factor):
    size = [max(1, round(side * factor)) for side in photo.size]
    return photo.resize(size, Image.Resampling.LANCZOS)


def recompressed(photo, quality):
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


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

    vectors, photos, scenes, classes = [], [], [], []
    files = sorted(arguments.photos.glob("neardup/*/*")) + sorted(arguments.photos.glob("classes/*/*"))
    for number, file in enumerate(files):
        photo = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
        # Only every fourth photo has copies: what they are compared with is all of them.
        copies = [make(photo) for make in COPIES.values()] if number % 4 == 0 else []
        for picture in [photo, *copies]:
            vectors.append(network.embed(picture))
            photos.append(number)
            near = file.parts[-3] == "neardup"
            scenes.append(file.parent.name if near else f"photo {number}")
            classes.append(f"photo {number}" if near else file.parent.name)
    vectors = np.stack(vectors).astype(np.float64)
    photos, scenes, classes = (np.unique(names, return_inverse=True)[1] for names in (photos, scenes, classes))

    dot = vectors @ vectors.T
    squared = np.diag(dot)
    upper = np.triu_indices(len(vectors), 1)
    distances = {
        "l2": np.sqrt(np.maximum(squared[:, None] + squared[None] - 2 * dot, 0))[upper],
        "cosine": (1 - dot / np.sqrt(squared[:, None] * squared[None]))[upper],
    }
    same = (photos[:, None] == photos)[upper]
    near = same | (scenes[:, None] == scenes)[upper]
    alike = near | (classes[:, None] == classes)[upper]
    right = {"same": same, "near": near, "similar": alike, "related": alike}
    print(f"# {len(files)} photos, {len(vectors)} pictures, {len(same)} pairs")
    for metric, values in distances.items():
        bands = {name: reach(values, right[name], share) for name, share in SHARES.items()}
        print(f"\n[bands.{metric}]")
        for name, (distance, recall) in bands.items():
            print(f"{name} = {distance:.4g}  # {SHARES[name]} of the pairs within are right; {recall:.3f} of the right ones are within")
        shots = near & ~same
        print(f"# near finds {np.mean(values[shots] <= bands['near'][0]):.3f} of the {shots.sum()} pairs of shots")


if __name__ == "__main__":
    main()

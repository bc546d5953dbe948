"""What half precision does to distances: MobileNetV2 embeddings of photos, each pair in f32 and in f16.

    python scripts/measure_half_precision.py mobilenet_v2_features.onnx FOLDER...   # needs numpy, pillow and onnxruntime
"""

import pathlib
import sys

import numpy as np
import onnxruntime
from PIL import Image

MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def prepare(path):
    image = Image.open(path).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize([max(256, round(side * scale)) for side in image.size], Image.BILINEAR)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
    return ((pixels - MEAN) / STD).transpose(2, 0, 1)[None]


def main():
    session = onnxruntime.InferenceSession(sys.argv[1])
    name = session.get_inputs()[0].name
    paths = sorted(path for folder in sys.argv[2:] for path in pathlib.Path(folder).rglob("*.jpg"))
    full = np.concatenate([session.run(None, {name: prepare(path)})[0].reshape(1, -1) for path in paths])
    full = full.astype(np.float64)
    half = full.astype(np.float16).astype(np.float64)
    print(f"{len(paths)} photos, {full.shape[1]} numbers, norms {np.linalg.norm(full, axis=1).min():.1f} to "
          f"{np.linalg.norm(full, axis=1).max():.1f}, greatest number {np.abs(full).max():.2f}")
    one, other = np.triu_indices(len(paths), 1)
    for metric in ("L2", "cosine"):
        exact, rounded = [], []
        for rows in (full, half):
            norms = np.linalg.norm(rows, axis=1)
            dots = rows @ rows.T
            if metric == "L2":
                distances = [np.linalg.norm(rows[a] - rows[b]) for a, b in zip(one, other)]
            else:
                distances = 1 - dots[one, other] / (norms[one] * norms[other])
            (exact if rows is full else rounded).extend(distances)
        exact, rounded = np.array(exact), np.array(rounded)
        order = np.argsort(exact)
        print(f"{metric}: {len(exact)} pairs, nearest {exact.min():.6g}, median {np.median(exact):.6g}")
        for title, chosen in (("nearest 100", order[:100]), ("nearest 1 %", order[: len(order) // 100]), ("all", order)):
            error = np.abs(rounded[chosen] - exact[chosen])
            share = error / np.maximum(exact[chosen], 1e-30)
            print(f"  {title}: distances up to {exact[chosen].max():.6g}, greatest error {error.max():.3g}, "
                  f"greatest share {share.max():.3g}")


main()

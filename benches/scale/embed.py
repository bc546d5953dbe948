#!/usr/bin/env python3
"""Writes the embeddings of photos as an .npy file of f32 rows, for `cargo bench --bench scale` to grow a library from.

    benches/scale/embed.py MODEL.onnx OUT.npy FOLDER...

Needs `pip install numpy onnxruntime pillow`. The network is one that takes 224 x 224 with ImageNet's mean and standard
deviation, as MobileNetV2 does, and gives its embedding as its first output.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

SHORT, CROP = 256, 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}


def tensor(path):
    photo = Image.open(path)
    photo.draft("RGB", (2 * SHORT, 2 * SHORT))
    photo = ImageOps.exif_transpose(photo).convert("RGB")
    scale = SHORT / min(photo.size)
    photo = photo.resize([max(SHORT, int(side * scale)) for side in photo.size], Image.Resampling.BILINEAR)
    left, top = (round((side - CROP) / 2) for side in photo.size)
    pixels = np.asarray(photo.crop((left, top, left + CROP, top + CROP)), np.float32) / 255
    return ((pixels - MEAN) / STD).transpose(2, 0, 1)[None]


def main(model, out, *folders):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    files = sorted(f for folder in folders for f in Path(folder).rglob("*") if f.suffix.lower() in ENDINGS)
    rows = []
    for number, file in enumerate(files, 1):
        try:
            rows.append(session.run(None, {name: tensor(file)})[0].reshape(-1))
        except OSError as error:
            print(f"{file}: {error}", file=sys.stderr)
        if number % 1000 == 0:
            print(f"{number} of {len(files)}", file=sys.stderr)
            np.save(out, np.stack(rows))
    np.save(out, np.stack(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])

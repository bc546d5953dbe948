#!/usr/bin/env python3
"""Photos in, what the built-in encoder and a classifier make of each out: what `classifier.py` learns from.

    answers.py --photos DIR --classifier MANIFEST=FILE:FEATURES --out FILE.npz [--exclude DIR ...]

Each folder directly under --photos is one source. --classifier is a network of the catalogue whose file holds the whole
classifier; FEATURES is the tensor before its last layer. No labels are read: the classifier's answer to the middle of a photo
stands for them.

Invariant: no photo of an --exclude folder is written: not the file that a MANIFEST.csv in it or above it names (column `path`,
as it stands inside a source), not the same bytes (SHA-256), not a near-twin (cosine of the features above 0.97).
"""

import argparse
import csv
import hashlib
import time
import tomllib
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "models" / "evaluation"))
from evaluate import Model, unit  # noqa: E402

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
TWIN_COSINE = 0.97
LEAST_SIDE = 48


class Classifier(Model):
    """Answers with features and logits."""

    def bytes(self):
        model = onnx.load(self.path)
        model.graph.output.append(onnx.helper.make_tensor_value_info(self.tensor, onnx.TensorProto.FLOAT, None))
        return model.SerializeToString()

    def answer(self, image):
        if self.session is None:
            self.open()
        logits, features = self.session.run(None, {self.input: self.preprocess(image)})
        return features.reshape(-1), logits.reshape(-1)


def photos_under(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)


def left_out(folders, classifier):
    """Names inside a source, digests and features of the photos that must not be learnt from."""
    names, digests, features = set(), set(), []
    for folder in map(Path, folders):
        for manifest in (folder / "MANIFEST.csv", folder.parent / "MANIFEST.csv"):
            if manifest.exists():
                with open(manifest, newline="") as rows:
                    names |= {row["path"] for row in csv.DictReader(rows)}
        for path in photos_under(folder):
            digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
            features.append(classifier.answer(Image.open(path).convert("RGB"))[0])
    return names, digests, unit(np.array(features, np.float32)) if features else np.zeros((0, 1), np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--classifier", type=Classifier.of_network, required=True, metavar="MANIFEST=FILE:FEATURES")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--exclude", nargs="*", default=[], help="folders of photos never to learn from")
    arguments = parser.parse_args()
    manifest = tomllib.loads((ROOT / "models" / "builtin" / "manifest.toml").read_text())["preprocessing"]
    student = Model("builtin", ROOT / "models" / "builtin" / "encoder.onnx", manifest["resize_short_side"], manifest["crop"])
    classifier = arguments.classifier
    names, digests, held = left_out(arguments.exclude, classifier)
    print(f"{len(digests)} photos to leave out", flush=True)
    sources, paths, embeddings, logits, dropped, began = [], [], [], [], 0, time.time()
    for folder in sorted(path for path in arguments.photos.iterdir() if path.is_dir()):
        for path in photos_under(folder):
            data = path.read_bytes()
            if str(path.relative_to(folder)) in names or hashlib.sha256(data).hexdigest() in digests:
                dropped += 1
                continue
            try:
                image = Image.open(path).convert("RGB")
            except Exception:  # an unreadable photo teaches nothing
                dropped += 1
                continue
            features, answer = classifier.answer(image)
            if min(image.size) < LEAST_SIDE or (len(held) and (held @ unit(features)).max() > TWIN_COSINE):
                dropped += 1
                continue
            sources.append(folder.name)
            paths.append(str(path.relative_to(folder)))
            embeddings.append(student.embed(image))
            logits.append(answer.astype(np.float16))
            if len(sources) % 1000 == 0:
                print(f"{len(sources)} of {folder.name}, {dropped} dropped, {time.time() - began:.0f} s", flush=True)
    np.savez(arguments.out, source=np.array(sources), path=np.array(paths), embedding=np.array(embeddings, np.float32),
             logits=np.array(logits))
    print(f"{len(sources)} photos, {dropped} left out")


if __name__ == "__main__":
    main()

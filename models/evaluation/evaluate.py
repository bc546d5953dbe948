#!/usr/bin/env python3
"""How well encoders find resembling photos, measured on labeled photos.

    evaluate.py                                     MobileNetV2, the built-in encoder and an untrained baseline
    evaluate.py --model NAME=FILE:SHORT:SIZE ...    other models: short side and square of the preprocessing
    evaluate.py --network MANIFEST=FILE:TENSOR ...  networks of the catalogue: preprocessing as the manifest has it, and the
                                                    tensor that is the embedding, which need not be an output of the file
    evaluate.py --speed                             time a photo, one thread, all models in turn
    evaluate.py --l2                                also by raw L2 distance instead of cosine

Retrieval is leave-one-out over the `.jpg` files of PHOTOS/classes, one folder a class: P@1, P@5 and mAP. Copies
are the same photos edited, each looked for among all originals: recall@1. Everything goes through Pillow and
ONNX Runtime, which is the reference the daemon's own preprocessing is held against.
"""

import argparse
import io
import json
import os
import statistics
import time
import tomllib
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageEnhance

ROOT = Path(__file__).resolve().parents[2]
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
BASELINE = "thumbnail+gradients"


class Model:
    """One ONNX encoder with its preprocessing."""

    def __init__(self, name, path, short_side, size, mean=MEAN, std=STD, tensor=None):
        self.name, self.path, self.short_side, self.size = name, str(path), int(short_side), int(size)
        self.mean, self.std, self.tensor = np.float32(mean), np.float32(std), tensor
        self.session = None

    @classmethod
    def parse(cls, text):
        name, _, rest = text.partition("=")
        path, short_side, size = rest.rsplit(":", 2)
        return cls(name, path, short_side, size)

    @classmethod
    def of_network(cls, text):
        manifest, _, rest = text.partition("=")
        path, tensor = rest.rsplit(":", 1)
        manifest = tomllib.loads(Path(manifest).read_text())
        preprocessing = manifest["preprocessing"]
        return cls(manifest["name"], path, preprocessing["resize_short_side"], preprocessing["crop"],
                   preprocessing["mean"], preprocessing["std"], tensor)

    def bytes(self):
        """The file, with the tensor as its one output."""
        if self.tensor is None:
            return Path(self.path).read_bytes()
        import onnx
        model = onnx.load(self.path)
        del model.graph.output[:]
        model.graph.output.append(onnx.helper.make_tensor_value_info(self.tensor, onnx.TensorProto.FLOAT, None))
        return model.SerializeToString()

    def open(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.bytes(), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def preprocess(self, image):
        """Short side to `short_side`, center square of `size`, unit range, mean and deviation, NCHW."""
        width, height = image.size
        scale = self.short_side / min(width, height)
        resized = image.resize((max(self.short_side, round(width * scale)),
                                max(self.short_side, round(height * scale))), Image.BILINEAR)
        left, top = (resized.width - self.size) // 2, (resized.height - self.size) // 2
        pixels = np.asarray(resized.crop((left, top, left + self.size, top + self.size)), np.float32) / 255
        return np.ascontiguousarray(((pixels - self.mean) / self.std).transpose(2, 0, 1)[None])

    def embed(self, image):
        if self.session is None:
            self.open()
        return self.session.run(None, {self.input: self.preprocess(image)})[0].reshape(-1)


class Baseline:
    """No training: a 32x32 color thumbnail, and gradient directions in 8x8 cells of a 64x64 gray one."""

    name = BASELINE

    def embed(self, image):
        thumbnail = np.asarray(image.resize((32, 32), Image.BOX), np.float32).ravel()
        gray = np.asarray(image.convert("L").resize((66, 66), Image.BOX), np.float32)
        dx, dy = gray[1:-1, 2:] - gray[1:-1, :-2], gray[2:, 1:-1] - gray[:-2, 1:-1]
        direction = np.minimum((np.arctan2(dy, dx) % np.pi) / np.pi * 9, 8).astype(int)
        rows, columns = np.mgrid[0:64, 0:64] // 8
        cells = np.zeros((8, 8, 9), np.float32)
        np.add.at(cells, (rows, columns, direction), np.hypot(dx, dy))
        cells = np.sqrt(cells / (cells.sum(2, keepdims=True) + 20)).ravel()
        return np.concatenate([unit(thumbnail - thumbnail.mean()), unit(cells - cells.mean())])


def unit(vectors):
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)


def jpeg(image):
    data = io.BytesIO()
    image.save(data, "JPEG", quality=20)
    return Image.open(data).convert("RGB")


def crop(image, seed):
    rng, (width, height) = np.random.default_rng(seed), image.size
    left, top = int(rng.uniform(0, 0.2) * width), int(rng.uniform(0, 0.2) * height)
    return image.crop((left, top, left + int(0.8 * width), top + int(0.8 * height)))


EDITS = {
    "JPEG q20": lambda image, _: jpeg(image),
    "half size": lambda image, _: image.resize((image.width // 2, image.height // 2), Image.BILINEAR),
    "80 % crop": crop,
    "flip": lambda image, _: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "brightness x1.5": lambda image, _: ImageEnhance.Brightness(image).enhance(1.5),
    "grayscale": lambda image, _: image.convert("L").convert("RGB"),
}


def embed_photo(job):
    """Embeddings of a photo, and of its edited copies if wanted, by every model."""
    number, path, with_copies = job
    image = Image.open(path).convert("RGB")
    versions = {"": image}
    if with_copies:
        versions |= {name: edit(image, number) for name, edit in EDITS.items()}
    return {name: [model.embed(version) for model in MODELS] for name, version in versions.items()}


def start_worker(models):
    global MODELS
    MODELS = models


def cosine_similarity(queries, photos):
    return unit(queries) @ unit(photos).T


def negated_squared_l2(queries, photos):
    return 2 * queries @ photos.T - (photos * photos).sum(1) - (queries * queries).sum(1)[:, None]


def retrieval(embeddings, classes, similarity):
    """Leave-one-out P@1, P@5 and mAP."""
    classes = np.unique(classes, return_inverse=True)[1]
    similarities = similarity(embeddings, embeddings)
    np.fill_diagonal(similarities, -np.inf)
    order = np.argsort(-similarities, 1, kind="stable")[:, :-1]
    relevant = classes[order] == classes[:, None]
    precision = np.cumsum(relevant, 1) / np.arange(1, relevant.shape[1] + 1)
    average = (precision * relevant).sum(1) / np.maximum(relevant.sum(1), 1)
    return {"P@1": float(relevant[:, 0].mean()), "P@5": float(relevant[:, :5].mean()), "mAP": float(average.mean())}


def measure(models, arguments):
    folder = arguments.photos / "classes"
    paths = sorted(folder.glob("*/*.jpg"))
    if not paths:
        raise SystemExit(f"no .jpg under {folder}")
    stride = max(1, round(len(paths) / arguments.copies)) if arguments.copies else 0
    jobs = [(number, path, bool(stride) and number % stride == 0) for number, path in enumerate(paths)]
    with Pool(arguments.workers, start_worker, (models,)) as pool:
        answers = pool.map(embed_photo, jobs, chunksize=16)
    classes = [path.parent.name for path in paths]
    edited = [number for number, _, with_copies in jobs if with_copies]
    report = {}
    for index, model in enumerate(models):
        originals = np.stack([answer[""][index] for answer in answers])
        for metric, similarity in [("cosine", cosine_similarity), ("l2", negated_squared_l2)][:1 + arguments.l2]:
            row = retrieval(originals, classes, similarity)
            for name in EDITS if edited else ():
                copies = np.stack([answers[number][name][index] for number in edited])
                row[name] = float((similarity(copies, originals).argmax(1) == edited).mean())
            report[model.name if metric == "cosine" else f"{model.name} (L2)"] = row
    print(f"{len(paths)} photos, {len(set(classes))} classes, {len(edited)} of them edited\n")
    columns = list(next(iter(report.values())))
    print(f"| model | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, row in report.items():
        print(f"| {name} | {' | '.join(f'{row[column]:.3f}' for column in columns)} |")
    return report


def time_models(models, arguments):
    """Milliseconds a photo, one thread: the network alone, and with preprocessing of a decoded photo."""
    models = [model for model in models if isinstance(model, Model)]
    paths = sorted((arguments.photos / "classes").glob("*/*.jpg"))[::37][:arguments.rounds]
    images = [Image.open(path).convert("RGB") for path in paths]
    times = {model.name: ([], []) for model in models}
    for model in models:
        model.embed(images[0])
    for number in range(arguments.rounds):
        image = images[number % len(images)]
        for model in models:
            start = time.perf_counter()
            x = model.preprocess(image)
            ready = time.perf_counter()
            model.session.run(None, {model.input: x})
            end = time.perf_counter()
            times[model.name][0].append((end - ready) * 1000)
            times[model.name][1].append((end - start) * 1000)
    print("\n| model | network, median ms | fastest ms | with preprocessing, median ms |\n|---|---|---|---|")
    report = {}
    for name, (network, whole) in times.items():
        report[name] = [statistics.median(network), min(network), statistics.median(whole)]
        print(f"| {name} | {report[name][0]:.2f} | {report[name][1]:.2f} | {report[name][2]:.2f} |")
    return report


def main():
    shared = ROOT.parent / "shared"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=shared / "photos")
    parser.add_argument("--model", type=Model.parse, action="append", metavar="NAME=FILE:SHORT:SIZE")
    parser.add_argument("--network", type=Model.of_network, action="append", metavar="MANIFEST=FILE:TENSOR")
    parser.add_argument("--copies", type=int, default=500, help="photos to edit; 0 for none (default 500)")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--l2", action="store_true")
    parser.add_argument("--speed", action="store_true", help="only time the models")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    models = (arguments.model or []) + (arguments.network or []) or [
        Model("mobilenet_v2", shared / "models" / "mobilenet_v2_features.onnx", 256, 224),
        Model("builtin", ROOT / "models" / "builtin" / "encoder.onnx", 146, 128),
    ]
    if arguments.speed:
        report = time_models(models, arguments)
    else:
        report = measure([*models, Baseline()], arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()

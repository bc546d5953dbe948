#!/usr/bin/env python3
"""Folder of photos in, training views with the teacher's answers out.

    prepare.py --photos DIR --teacher mobilenet_v2_features.onnx --out DIR [--exclude DIR ...] [--minutes M]

Each folder directly under --photos is one source. A view is a square or nearly square part of a photo. The
teacher sees it at 224 pixels; the student's copy is stored at the student's size, beside the teacher's
embedding and its last feature map (PCA, averaged to a small grid). Shards appear under --out one by one, so
that training may start while this still runs; a second run goes on where the first stopped.

Invariant: no photo of an --exclude folder is ever written: not the file that its MANIFEST.csv names (column
`path`, as it stands inside a source), not the same bytes (SHA-256), not a near-twin (cosine of the teacher's
embeddings above `twin_cosine`).
"""

import argparse
import csv
import hashlib
import io
import json
import math
import os
import random
import signal
import sys
import time
import tomllib
from multiprocessing import Process
from pathlib import Path

# Before numpy: every worker is one thread. A second BLAS thread on a busy core is worse than none.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import onnx
import openvino
from PIL import Image, ImageFile

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
ImageFile.LOAD_TRUNCATED_IMAGES = False


class Teacher:
    """The frozen encoder, with its last feature map as a second output.

    In bfloat16 where the CPU has it: twice as fast, and cosine 0.998 to 0.9997 to the answer in float32."""

    def __init__(self, path, config, threads=1):
        model = onnx.load(path)
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(config["teacher"]["map"]))
        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            settings["INFERENCE_PRECISION_HINT"] = "bf16"
        normalized = openvino.preprocess.PrePostProcessor(core.read_model(io.BytesIO(model.SerializeToString())))
        pixels = normalized.input()
        pixels.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        pixels.model().set_layout(openvino.Layout("NCHW"))
        pixels.preprocess().convert_element_type(openvino.Type.f32)
        pixels.preprocess().mean([255 * mean for mean in config["preprocessing"]["mean"]])
        pixels.preprocess().scale([255 * std for std in config["preprocessing"]["std"]])
        self.model = core.compile_model(normalized.build(), "CPU", settings)
        self.grid = config["teacher"]["grid"]

    def __call__(self, pixels):
        """uint8 [N, S, S, 3] -> unit embeddings [N, 1280] and maps [N, grid * grid, 1280]."""
        answer = self.model({0: pixels})
        embedding, feature_map = answer[0].reshape(len(pixels), -1), answer[1]
        embedding /= np.linalg.norm(embedding, axis=1, keepdims=True) + 1e-9
        return embedding, pool_to_grid(feature_map, self.grid)


def pool_to_grid(feature_map, grid):
    """[N, C, H, W] -> [N, grid * grid, C]; windows overlap where grid does not divide H."""

    def windows(length):
        starts = [cell * length // grid for cell in range(grid)]
        ends = [-(-(cell + 1) * length // grid) for cell in range(grid)]
        position = np.arange(length)
        return np.stack([((position >= a) & (position < b)) / (b - a) for a, b in zip(starts, ends)])

    count, channels, height, width = feature_map.shape
    pooling = np.kron(windows(height), windows(width)).astype(np.float32)
    return (feature_map.reshape(-1, height * width) @ pooling.T).reshape(count, channels, -1).transpose(0, 2, 1)


def open_photo(data):
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (448, 448))
    return image.convert("RGB")


def center_box(width, height, share):
    side = share * min(width, height)
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2


def random_box(width, height, area, rng):
    for _ in range(10):
        part = width * height * rng.uniform(*area)
        aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = math.sqrt(part * aspect), math.sqrt(part / aspect)
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return left, top, left + w, top + h
    return center_box(width, height, 1)


def photos_under(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def center_views(paths, config, size):
    share = config["preprocessing"]["size"] / config["preprocessing"]["short_side"]
    for path in paths:
        try:
            image = open_photo(path.read_bytes())
        except Exception:  # an unreadable photo is nothing to compare with
            continue
        yield np.asarray(image.resize((size, size), Image.BILINEAR, box=center_box(*image.size, share)))


def embed_in_batches(teacher, views, batch=16):
    embeddings, pending = [], []
    for view in views:
        pending.append(view)
        if len(pending) == batch:
            embeddings.append(teacher(np.stack(pending))[0])
            pending.clear()
    if pending:
        embeddings.append(teacher(np.stack(pending))[0])
    return np.concatenate(embeddings) if embeddings else np.zeros((0, 1280), np.float32)


def held_out(folders, teacher, config, out):
    """SHA-256 digests and teacher embeddings of the photos that must not be trained on."""
    paths = [path for folder in folders for path in photos_under(folder)]
    digests = {digest(path) for path in paths}
    cached = out / "held_out.npy"
    if not cached.exists():
        np.save(cached, embed_in_batches(teacher, center_views(paths, config, config["teacher"]["size"])))
    return digests, np.load(cached)


def named_sources(folders):
    """Paths inside a source that the held-out photos were made from, often at another size."""
    names = set()
    for manifest in (Path(folder) / "MANIFEST.csv" for folder in folders):
        if manifest.exists():
            with open(manifest, newline="") as rows:
                names |= {row["path"] for row in csv.DictReader(rows)}
    return names


def plan(photos, config, left_out):
    """Every (photo id, path, view number) in the order it is made: first views, then second ones..."""
    rng = random.Random(config["seed"])
    sources = config["prepare"]["sources"]
    passes, next_id = {}, 0
    for folder in sorted(path for path in Path(photos).iterdir() if path.is_dir()):
        setting = sources.get(folder.name, sources["*"])
        paths = [path for path in photos_under(folder) if str(path.relative_to(folder)) not in left_out]
        rng.shuffle(paths)
        for path in paths[:setting.get("photos", len(paths))]:
            for view in range(setting["views"]):
                passes.setdefault(view + setting.get("first_pass", 0), []).append((next_id, path, view))
            next_id += 1
    for jobs in passes.values():
        rng.shuffle(jobs)
    return [job for number in sorted(passes) for job in passes[number]]


def fit_map_basis(jobs, teacher, config, path):
    """PCA of the teacher's map cells over the first photos of the plan."""
    paths = [job[1] for job in jobs[:768]]
    views = list(center_views(paths, config, config["teacher"]["size"]))
    cells = np.concatenate([teacher(np.stack(views[i:i + 16]))[1].reshape(-1, 1280)
                            for i in range(0, len(views), 16)])
    mean = cells.mean(0)
    variance, basis = np.linalg.eigh(np.cov(cells - mean, rowvar=False))
    basis = basis[:, ::-1][:, :config["teacher"]["map_dim"]]
    scale = np.sqrt(variance[::-1][:config["teacher"]["map_dim"]].mean())
    explained = variance[::-1][:config["teacher"]["map_dim"]].sum() / variance.sum()
    np.savez(path, mean=mean.astype(np.float32), basis=(basis / scale).astype(np.float32), explained=explained)


class Shards:
    """One worker's files. What a later run needs to go on is read from them, not kept beside them."""

    def __init__(self, folder, worker, size):
        self.folder, self.worker, self.size, self.rows = folder, worker, size, []
        written = sorted(folder.glob(f"shard-*-{worker}.npz"))
        self.number = 1 + max((int(path.stem.split("-")[1]) for path in written), default=-1)
        self.made = set()
        for path in written:
            shard = np.load(path)
            self.made |= set(zip(shard["photo"].tolist(), shard["view"].tolist()))

    def add(self, *row):
        self.rows.append(row)
        if len(self.rows) >= self.size:
            self.write()

    def write(self):
        if not self.rows:
            return
        photo, view, pixels, embedding, cells = zip(*self.rows)
        part = self.folder / f".part-{self.worker}.npz"
        np.savez(part, photo=np.array(photo, np.int32), view=np.array(view, np.uint8), pixels=np.stack(pixels),
                 embedding=np.stack(embedding), map=np.stack(cells))
        part.rename(self.folder / f"shard-{self.number:04}-{self.worker}.npz")
        self.rows, self.number = [], self.number + 1


def work(worker, arguments, config, jobs, digests, deadline):
    """Makes this worker's share of the plan. A photo always goes to the same worker, so that what its first
    view showed (a twin, unreadable) also holds for its later views."""
    out, settings = Path(arguments.out), config["prepare"]
    teacher, map_basis = Teacher(arguments.teacher, config), np.load(out / "map_basis.npz")
    held = np.load(out / "held_out.npy").T
    large, small = config["teacher"]["size"], config["preprocessing"]["size"]
    shards = Shards(out, worker, settings["shard_views"])
    rejected_path = out / f"rejected-{worker}.json"
    rejected = json.loads(rejected_path.read_text()) if rejected_path.exists() else {}
    pending = []

    def answer():
        embeddings, maps = teacher(np.stack([item[2] for item in pending]))
        maps = ((maps - map_basis["mean"]) @ map_basis["basis"]).astype(np.float16)
        twins = (embeddings @ held).max(1, initial=-1) > settings["twin_cosine"]
        for (photo, view, _, pixels), embedding, cells, is_twin in zip(pending, embeddings, maps, twins):
            if is_twin:
                rejected[str(photo)] = "twin"
            else:
                shards.add(photo, view, pixels, embedding.astype(np.float16), cells)
        pending.clear()

    for photo, path, view in jobs:
        if time.time() > deadline:
            break
        if photo % arguments.workers != worker or (photo, view) in shards.made or str(photo) in rejected:
            continue
        image = open_or_reject(path, digests, settings["min_side"])
        if isinstance(image, str):
            rejected[str(photo)] = image
            continue
        rng = random.Random(f"{config['seed']} {photo} {view}")
        box = (center_box(*image.size, small / config["preprocessing"]["short_side"]) if view == 0
               else random_box(*image.size, settings["crop_area"], rng))
        pending.append((photo, view, *(np.asarray(image.resize((side, side), Image.BILINEAR, box=box))
                                       for side in (large, small))))
        if len(pending) == 16:
            answer()
            rejected_path.write_text(json.dumps(rejected))
    if pending:
        answer()
    shards.write()
    rejected_path.write_text(json.dumps(rejected))


def open_or_reject(path, digests, min_side):
    """The photo, or why it is left out."""
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() in digests:
            return "same bytes"
        image = open_photo(data)
    except Exception as error:  # whatever Pillow raises, it condemns this photo only
        return type(error).__name__
    return image if min(image.size) >= min_side else "too small"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--exclude", nargs="*", default=[], help="folders of photos never to train on")
    parser.add_argument("--config", default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this, finished or not")
    arguments = parser.parse_args()
    config = tomllib.loads(Path(arguments.config).read_text())
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    deadline = time.time() + arguments.minutes * 60

    teacher = Teacher(arguments.teacher, config, threads=arguments.workers)
    digests, _ = held_out(arguments.exclude, teacher, config, out)
    jobs = plan(arguments.photos, config, named_sources(arguments.exclude))
    if not (out / "map_basis.npz").exists():
        fit_map_basis(jobs, teacher, config, out / "map_basis.npz")
    if not (out / "photos.txt").exists():
        names = dict((photo, str(path.relative_to(arguments.photos))) for photo, path, _ in jobs)
        (out / "photos.txt").write_text("\n".join(names[photo] for photo in sorted(names)) + "\n")
    print(f"{len({job[0] for job in jobs})} photos, {len(jobs)} views planned, {len(digests)} photos held out",
          flush=True)
    del teacher

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an orderly exit takes the workers along
    workers = [Process(target=work, args=(number, arguments, config, jobs, digests, deadline), daemon=True)
               for number in range(arguments.workers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    failed = [worker.exitcode for worker in workers if worker.exitcode]
    views = sum(len(np.load(path)["photo"]) for path in out.glob("shard-*.npz"))
    print(f"{views} views written" + (f", workers failed: {failed}" if failed else ""))
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()

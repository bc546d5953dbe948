#!/usr/bin/env python3
"""Indexing speed of the daemon against the same work in Python, in one run.

    compare_indexing.py PHOTOS [--rounds 3]

The photos of PHOTOS/fullres (12 megapixels and more) are indexed by a fresh daemon, and then decoded in full and
resized by Pillow and encoded by ONNX Runtime, the model loaded once, in as many processes as the daemon has threads.
The rounds alternate; the best of each side counts, since a busy machine only makes slower. Prints the ratio, the
share of each step, and the daemon's peak memory.

Needs numpy, pillow and onnxruntime, and MobileNetV2 in RESEMBLED_MODEL_DIR (default ../shared/models).
"""

import argparse
import multiprocessing
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy
import onnxruntime
from PIL import Image, ImageOps

from temporary_daemon import ROOT, TemporaryDaemon

MEAN = numpy.array([0.485, 0.456, 0.406], numpy.float32)
STD = numpy.array([0.229, 0.224, 0.225], numpy.float32)
COPIES = 8


def fill(folder, originals):
    """Copies each original several times, each copy another content, so that no embedding is shared."""
    for number in range(COPIES):
        for original in originals:
            target = Path(folder) / f"{number}-{original.name}"
            # What follows the end marker of a JPEG is not looked at.
            target.write_bytes(original.read_bytes() + bytes([number]))


def open_session(model):
    global session
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def embed(path):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    width, height = image.size
    short = min(width, height)
    image = image.resize((256 * width // short, 256 * height // short), Image.BILINEAR)
    left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
    pixels = numpy.asarray(image.crop((left, top, left + 224, top + 224)), numpy.float32) / 255
    batch = numpy.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1)[None])
    return session.run(None, {session.get_inputs()[0].name: batch})[0][0]


def time_python(folder, model, processes):
    """Seconds for all photos; starting the processes and loading the model does not count."""
    paths = sorted(Path(folder).iterdir())
    with multiprocessing.Pool(processes, open_session, (model,)) as pool:
        pool.map(embed, paths[:processes], chunksize=1)
        begun = time.perf_counter()
        pool.map(embed, paths, chunksize=1)
        return time.perf_counter() - begun


def time_daemon(folder, library):
    """Seconds from a rename that shows the photos to the daemon until all of them are searchable."""
    environment = {"ORT_DYLIB_PATH": str(library)} if library else {}
    with tempfile.TemporaryDirectory(prefix="watched-", dir=Path(folder).parent) as watched, \
            TemporaryDaemon(watched, ["--model", "mobilenet_v2"], environment) as daemon:
        count = len(list(Path(folder).iterdir()))
        daemon.wait_until_idle()
        begun = time.perf_counter()
        Path(folder).rename(Path(watched) / "card")
        status = daemon.wait_until_idle()
        while status["files"] < count:
            status = daemon.wait_until_idle()
        seconds = time.perf_counter() - begun
        (Path(watched) / "card").rename(folder)
        return seconds, status, daemon.peak_memory_mb()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    originals = sorted((options.photos / "fullres").glob("*.jpg"))
    model = Path(os.environ.get("RESEMBLED_MODEL_DIR", ROOT.parent / "shared" / "models")) / "mobilenet_v2_features.onnx"
    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"), None)
    processes = os.cpu_count()

    work = Path(tempfile.mkdtemp(prefix="compare-"))
    try:
        folder = work / "card"
        folder.mkdir()
        fill(folder, originals)
        count = len(originals) * COPIES
        best_python, best_daemon, peak = float("inf"), float("inf"), 0.0
        for number in range(options.rounds):
            python = time_python(folder, model, processes)
            seconds, status, memory = time_daemon(folder, library)
            print(f"round {number + 1}: Python {count / python:.2f} photos/s, daemon {count / seconds:.2f} photos/s")
            if seconds < best_daemon:
                best_daemon, steps = seconds, status["seconds"]
            best_python, peak = min(best_python, python), max(peak, memory)
        total = sum(steps.values())
        print(f"{count} photos, {processes} threads, {status['runtime']}")
        print(f"daemon {best_python / best_daemon:.2f} x Python")
        print("share: " + ", ".join(f"{name} {100 * value / total:.0f} %" for name, value in steps.items()))
        print(f"daemon's peak memory {peak:.0f} MB")
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()

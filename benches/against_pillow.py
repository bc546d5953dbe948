#!/usr/bin/env python3
"""Decoding and preprocessing against Pillow, in one run: processor time of one core, as ratios.

    cargo build --release --example decode_speed
    benches/against_pillow.py target/release/examples/decode_speed PHOTO.jpg...

Pillow reads in full, or in draft mode (scaled by the DCT) at the same smallest size as the daemon, and then
resizes, crops and normalises the same way. Processor time does not count what other programs do meanwhile.
"""

import resource
import subprocess
import sys
import time

import numpy
from PIL import Image

TIMES = 6
NEED = 512


def spent_by_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def ours(program, photo, *mode):
    """Time of one round, without the start of the process."""
    def run(times):
        before = spent_by_children()
        output = subprocess.run([program, photo, str(times), *mode], check=True, capture_output=True, text=True)
        return spent_by_children() - before, output.stdout.split()[0]

    few, _ = run(1)
    many, size = run(1 + TIMES)
    return (many - few) / TIMES, size


def preprocess(image):
    width, height = image.size
    size = (256, int(256 * height / width)) if width <= height else (int(256 * width / height), 256)
    image = image.resize(size, Image.BILINEAR)
    left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
    values = numpy.asarray(image.crop((left, top, left + 224, top + 224)), dtype=numpy.float32) / 255
    return ((values - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).transpose(2, 0, 1)


def pillow(photo, draft):
    best = float("inf")
    for _ in range(TIMES):
        before = time.process_time()
        image = Image.open(photo)
        if draft:
            image.draft("RGB", (NEED, NEED))
        preprocess(image.convert("RGB"))
        best = min(best, time.process_time() - before)
    return best


def main():
    program, photos = sys.argv[1], sys.argv[2:]
    sums = [0.0] * 4
    print("photo | MP | Pillow full, draft ms | ours full, scaled ms | faster than full, draft")
    for photo in photos:
        width, height = Image.open(photo).size
        scaled, size = ours(program, photo)
        times = [pillow(photo, False), pillow(photo, True), ours(program, photo, "full")[0], scaled]
        sums = [total + value for total, value in zip(sums, times)]
        full, draft, whole, scaled = (value * 1e3 for value in times)
        name = photo.rsplit("/", 1)[-1][:32]
        megapixels = width * height / 1e6
        print(f"{name:32} | {megapixels:4.1f} | {full:5.0f} {draft:5.0f} | {whole:5.0f} {scaled:5.1f} {size} "
              f"| {full / scaled:4.1f} {draft / scaled:4.2f}")
    full, draft, whole, scaled = sums
    print(f"all: {full / scaled:.2f} times Pillow full, {draft / scaled:.2f} times Pillow draft; "
          f"full decode {full / whole:.2f} times Pillow full")


if __name__ == "__main__":
    main()

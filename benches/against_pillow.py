#!/usr/bin/env python3
"""Decoding and preprocessing against Pillow, in one run: processor time of one core, as ratios.

    cargo build --release --example decode_speed
    benches/against_pillow.py [--short-side 256] [--times 6] target/release/examples/decode_speed PHOTO.jpg...

Needs Pillow and NumPy. Pillow reads in full, or in draft mode (scaled by the DCT) to the same smallest size as the
daemon, and then resizes, crops and normalises in the same way. Processor time does not count what other programs do
meanwhile; that of the daemon's worker processes is counted.
"""

import argparse
import resource
import subprocess
import time

import numpy
from PIL import Image

MODES = ["full", "scaled", "isolated"]


def spent_by_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def ours(options, photo, mode):
    """Seconds for one round, without the start of the process, and the size that was decoded."""

    def run(times):
        before = spent_by_children()
        command = [options.program, photo, str(times), str(options.short_side), mode]
        output = subprocess.run(command, check=True, capture_output=True, text=True)
        return spent_by_children() - before, output.stdout.split()[0]

    few, _ = run(1)
    many, size = run(1 + options.times)
    return (many - few) / options.times, size


def preprocess(image, short):
    width, height = image.size
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    image = image.resize(size, Image.BILINEAR)
    crop = short * 7 // 8
    left, top = (size[0] - crop) // 2, (size[1] - crop) // 2
    values = numpy.asarray(image.crop((left, top, left + crop, top + crop)), dtype=numpy.float32) / 255
    return ((values - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).transpose(2, 0, 1)


def pillow(options, photo, draft):
    best = float("inf")
    for _ in range(options.times):
        before = time.process_time()
        image = Image.open(photo)
        if draft:
            image.draft("RGB", (2 * options.short_side, 2 * options.short_side))
        preprocess(image.convert("RGB"), options.short_side)
        best = min(best, time.process_time() - before)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short-side", type=int, default=256, help="of the network's resize")
    parser.add_argument("--times", type=int, default=6)
    parser.add_argument("program")
    parser.add_argument("photos", nargs="+")
    options = parser.parse_args()
    sums = numpy.zeros(5)
    print("photo | MP | Pillow full, draft ms | ours full, scaled, isolated ms | size | times full, draft | MP/s")
    for photo in options.photos:
        width, height = Image.open(photo).size
        ours_of = {mode: ours(options, photo, mode) for mode in MODES}
        times = [pillow(options, photo, False), pillow(options, photo, True), *(ours_of[mode][0] for mode in MODES)]
        sums += times
        full, draft, whole, scaled, isolated = (value * 1e3 for value in times)
        name, megapixels = photo.rsplit("/", 1)[-1][-32:], width * height / 1e6
        print(
            f"{name:32} | {megapixels:4.1f} | {full:5.0f} {draft:5.0f} | {whole:5.0f} {scaled:5.0f} {isolated:5.0f} "
            f"| {ours_of['scaled'][1]:9} | {full / isolated:5.2f} {draft / isolated:5.2f} | {megapixels / isolated * 1e3:4.0f}"
        )
    full, draft, whole, scaled, isolated = sums
    print(
        f"all: isolated {full / isolated:.2f} times Pillow full, {draft / isolated:.2f} times Pillow draft; in the same "
        f"process {draft / scaled:.2f}; full decode {full / whole:.2f} times Pillow full"
    )


if __name__ == "__main__":
    main()

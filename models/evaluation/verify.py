#!/usr/bin/env python3
"""Measures what `resemble compare` says of pairs of pictures, and fits its probability anew.

    models/evaluation/duplicates.py make FOLDER
    resembled FOLDER/library                       # until `resemble status` says idle
    models/evaluation/verify.py FOLDER pairs.jsonl [--others 1500] [--jobs 2]

Pairs are: all shots of one scene, other photos that are among the nearest of a photo (`resemble similar`), edits of 120 photos with
their originals, and neighbors among the pages of each kind, of which those of one layout come together. What was measured of each
goes to the file, from which a second run starts. Printed is which share of each kind is called anything but different, and which words
are said; then the same by weights fitted on one half of the photos, for the other half, and the weights of all. Panoramas share a
third of the picture, two and two, and are left out of the fit. Needs `pip install numpy`, and `resemble` on the path.
"""

import argparse
import itertools
import json
import random
import subprocess
import zlib
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
PAGE = 0.4


def ask(*arguments):
    return subprocess.run(["resemble", *arguments], capture_output=True, text=True).stdout


def pairs(folder, others):
    """Yields kind, first and second file."""
    library, draw = folder / "library", random.Random(1)
    scenes = defaultdict(list)
    for file in sorted(library.glob("neardup/*/*")):
        scenes[file.parent.name].append(file)
    for scene, files in scenes.items():
        for first, second in itertools.combinations(files, 2):
            yield "shots of landmarks" if scene.startswith("landmark") else "shots", first, second
    photos = sorted(library.glob("neardup/*/*")) + sorted(library.glob("classes/*/*"))
    for file in draw.sample(photos, others // 5):
        for line in ask("similar", "--json", "-k", "6", str(file)).splitlines():
            other = Path(json.loads(line)["path"])
            if "pages" not in other.parts and (other.parent != file.parent or "classes" in other.parts):
                yield "other photos", file, other
    originals = {f"{file.parent.name} {file.stem}": file for file in library.glob("classes/*/*")}
    for file in sorted((folder / "card" / "edits").glob("*/*")):
        yield f"edit: {file.parent.name}", originals[file.stem.split(" ", 1)[1]], file
    for kind in sorted((library / "pages").iterdir()):
        files = sorted(kind.iterdir()) + sorted((folder / "card" / "pages" / kind.name).iterdir())
        for step in (1, 2, 3, 4, 5, 8, 12, 20):
            for first, second in list(zip(files, files[step:]))[:60]:
                yield f"page: {kind.name}", first, second


def measure(kind, first, second):
    said = ask("compare", "--json", str(first), str(second))
    return {"kind": kind, "first": str(first), "second": str(second), **(json.loads(said) if said else {})}


def features(row):
    inliers, agreement = np.log1p(row["inliers"]), row["agreement"]
    return [
        inliers,
        agreement,
        row["correlation"],
        row["supported"],
        np.log(max(row["stretch"], 1)),
        inliers * row["inliers"] / max(row["matches"], 1),
        max(row["plainness"] - PAGE, 0) * (1 - agreement),
    ]


def fit(values, right, steps=60):
    """Logistic regression by Newton's method; returns weights and bias."""
    mean, deviation = values.mean(0), values.std(0) + 1e-9
    scaled = np.c_[(values - mean) / deviation, np.ones(len(values))]
    weights = np.zeros(scaled.shape[1])
    penalty = np.r_[np.ones(len(weights) - 1), 1e-9]
    for _ in range(steps):
        likely = 1 / (1 + np.exp(-np.clip(scaled @ weights, -30, 30)))
        slope = scaled.T @ (likely - right) + penalty * np.r_[weights[:-1], 0]
        curve = (scaled * (likely * (1 - likely))[:, None]).T @ scaled + np.diag(penalty)
        weights -= np.linalg.solve(curve, slope)
    return weights[:-1] / deviation, weights[-1] - (weights[:-1] * mean / deviation).sum()


def table(kinds, probabilities):
    for kind in dict.fromkeys(kinds):
        meant = probabilities[kinds == kind]
        shares = ", ".join(f"{np.mean(meant >= limit):.3f} from {limit}" for limit in THRESHOLDS)
        print(f"{kind} ({len(meant)}): {shares}")
    photos = np.isin(kinds, ["shots", "shots of landmarks", "other photos"])
    for limit in THRESHOLDS:
        found = photos & (probabilities >= limit)
        print(f"of photos from {limit}, {np.mean(kinds[found] != 'other photos'):.3f} are shots of one scene")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--others", type=int, default=1500)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    if not arguments.pairs.exists():
        with ThreadPoolExecutor(arguments.jobs) as pool:
            rows = list(pool.map(lambda pair: measure(*pair), pairs(arguments.folder.resolve(), arguments.others)))
        arguments.pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [json.loads(line) for line in arguments.pairs.read_text().splitlines()]
    rows = [row for row in rows if "verdict" in row]
    kinds = np.array([row["kind"] for row in rows])
    print("# as it is")
    table(kinds, np.array([row["probability"] for row in rows]))
    for kind in dict.fromkeys(kinds):
        words = Counter(row["verdict"] for row in rows if row["kind"] == kind)
        print(f"{kind}: " + ", ".join(f"{word} {count / words.total():.3f}" for word, count in words.most_common()))

    meant = (kinds != "page: panorama") & np.array([row["inliers"] > 0 for row in rows])
    right = np.array([float(kind.startswith(("shots", "edit"))) for kind in kinds])
    values = np.array([features(row) for row in rows])
    # A scene, and a photo with its edits, are in one half.
    halves = np.array([zlib.crc32("/".join(Path(row["first"]).parts[-2:-1 if "shots" in row["kind"] else None]).encode()) % 2 for row in rows])
    probabilities = np.zeros(len(rows))
    for half in (0, 1):
        weights, bias = fit(values[meant & (halves != half)], right[meant & (halves != half)])
        held_out = (halves == half) & np.array([row["inliers"] > 0 for row in rows])
        probabilities[held_out] = 1 / (1 + np.exp(-(values[held_out] @ weights + bias)))
    print("# fitted on the other half")
    table(kinds, probabilities)
    weights, bias = fit(values[meant], right[meant])
    print("# weights of all:", ", ".join(f"{weight:.3f}" for weight in weights), f"bias {bias:.3f}")


if __name__ == "__main__":
    main()

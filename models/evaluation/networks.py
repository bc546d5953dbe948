#!/usr/bin/env python3
"""What every network at hand finds and takes, through the daemon, in both runtimes.

    cargo build --release && models/evaluation/networks.py ../shared/photos --models DIR [--models DIR ...] [--onnxruntime LIBRARY]
        [--networks NAME,NAME] [--runtimes onnxruntime,tract]

DIR has files of networks, as `resembled models pull` leaves them in ~/.local/share/resembled/models. The `.jpg` files of
PHOTOS/classes, one folder a class, are indexed by a daemon on one encoding thread; then all others are ranked by each, leave-one-out
by cosine: P@1, P@5 and mAP. Milliseconds are those of encoding alone, mean over all photos; other work on the machine adds to
them. P@5 is compared with the manifest's, which `evaluate.py` has measured in Pillow and ONNX Runtime: where they differ by more
than 0.005, the exit code is 1. Without an ONNX Runtime library (`pip install onnxruntime` has one), only tract is measured.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from temporary_daemon import RELEASE, TemporaryDaemon  # noqa: E402

TOLERANCE = 0.005
HEAD = "| network | runtime | P@1 | P@5 | in the manifest | mAP | ms a photo |\n|---|---|---|---|---|---|---|"


def at_hand(folders):
    """Manifests of the catalogue with a measured P@5, of which a file is there, the built-in one last."""
    manifests = [tomllib.loads(path.read_text()) for path in sorted((ROOT / "models").glob("*/manifest.toml"))]
    there = [manifest for manifest in manifests if "quality" in manifest
             and (manifest["name"] == "builtin" or any((folder / source["file"]).is_file()
                                                       for folder in folders for source in manifest["source"]))]
    return sorted(there, key=lambda manifest: (manifest["name"] == "builtin", manifest["name"]))


def copied(photos, folder):
    paths = []
    for original in sorted((photos / "classes").glob("*/*.jpg")):
        path = folder / original.parent.name / original.name
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(original, path)
        paths.append(path)
    return paths


def ranked(daemon, path, count):
    """All others, the nearest first."""
    command = [RELEASE / "resemble", "similar", path, "-k", str(count), "--metric", "cosine", "--paths"]
    output = subprocess.run(command, env=daemon.environment, check=True, capture_output=True).stdout
    return [Path(os.fsdecode(line)) for line in output.splitlines()]


def precision(daemon, paths):
    first, five, mean = 0.0, 0.0, 0.0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, found in zip(paths, pool.map(lambda path: ranked(daemon, path, len(paths)), paths)):
            right = [other.parent == path.parent for other in found]
            first, five = first + right[0], five + sum(right[:5]) / 5
            hits, average = 0, 0.0
            for place, is_right in enumerate(right, 1):
                if is_right:
                    hits += 1
                    average += hits / place
            mean += average / max(hits, 1)
    return [value / len(paths) for value in (first, five, mean)]


def measure(manifest, runtime, options, photos, paths):
    """Returns P@1, P@5, mAP and milliseconds."""
    daemon = TemporaryDaemon(photos, ["--model", manifest["name"]])
    # Of model folders there may be several.
    daemon.environment.pop("RESEMBLED_MODEL_DIR")
    if options.onnxruntime:
        daemon.environment["ORT_DYLIB_PATH"] = str(options.onnxruntime)
    config = daemon.home / "config" / "resembled" / "config.toml"
    config.parent.mkdir(parents=True)
    dirs = ", ".join(f'"{folder}"' for folder in options.models)
    config.write_text(f'model_dirs = [{dirs}]\n[encoder]\nruntime = "{runtime}"\nthreads = 1\n')
    with daemon:
        status = daemon.wait_until_idle()
        while status["files"] + status["failed"] < len(paths):
            status = daemon.wait_until_idle()
        if status["failed"] or status["model"] != manifest["name"]:
            raise SystemExit(f"{manifest['name']}: {status}")
        milliseconds = 1000 * status["seconds"]["encode"] / status["photos_encoded"]
        return [*precision(daemon, paths), milliseconds]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--models", type=lambda text: Path(text).resolve(), action="append", default=[])
    parser.add_argument("--onnxruntime", type=Path, default=os.environ.get("ORT_DYLIB_PATH"))
    parser.add_argument("--networks", help="only these, by name")
    parser.add_argument("--runtimes", default="onnxruntime,tract")
    options = parser.parse_args()
    wanted = options.networks.split(",") if options.networks else None
    runtimes = [name for name in options.runtimes.split(",") if name != "onnxruntime" or options.onnxruntime]
    differs = False
    with tempfile.TemporaryDirectory(prefix="photos-") as folder:
        paths = copied(options.photos, Path(folder))
        print(f"{len(paths)} photos of {len({path.parent for path in paths})} classes\n\n{HEAD}", flush=True)
        for manifest in at_hand(options.models):
            if wanted and manifest["name"] not in wanted:
                continue
            for runtime in runtimes:
                first, five, mean, milliseconds = measure(manifest, runtime, options, folder, paths)
                promised = manifest["quality"]["p_at_5"]
                is_off = abs(five - promised) > TOLERANCE
                differs |= is_off
                print(f"| {manifest['name']} | {runtime} | {first:.3f} | {five:.3f} | {promised:.3f}{' OFF' if is_off else ''} "
                      f"| {mean:.3f} | {milliseconds:.1f} |", flush=True)
    sys.exit(differs)


if __name__ == "__main__":
    main()

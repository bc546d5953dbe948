#!/usr/bin/env python3
"""Precision of the daemon's answers, measured from outside: folder in, `resemble search` out.

    evaluate_daemon.py PHOTOS [--model NAME] [--metric cosine|l2]

PHOTOS/classes holds one folder a class. Its `.jpg` files are copied, one folder a class, into the folder of a daemon
that already runs; then each is searched for, itself left out: P@1 and P@5, leave-one-out. The figure to compare it
with is that of models/evaluation/evaluate.py, which does the same in Pillow and ONNX Runtime.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from temporary_daemon import TemporaryDaemon


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--metric", default="cosine")
    options = parser.parse_args()
    originals = sorted((options.photos / "classes").glob("*/*.jpg"))

    with tempfile.TemporaryDirectory(prefix="photos-") as folder, \
            TemporaryDaemon(folder, ["--model", options.model]) as daemon:
        paths = []
        for original in originals:
            path = Path(folder) / original.parent.name / original.name
            path.parent.mkdir(exist_ok=True)
            shutil.copyfile(original, path)
            paths.append(path)
        status = daemon.wait_until_idle()
        while status["files"] + status["failed"] < len(paths):
            # The first files were done before the last were written.
            status = daemon.wait_until_idle()
        print(f"{status['files']} photos, {status['failed']} failures, {status['model']} in {status['runtime']}")

        first, five = 0, 0
        for path in paths:
            found = daemon.resemble("search", path, "-k", 6, "--metric", options.metric)
            others = [match for match in found if Path(match["path"]) != path][:5]
            hits = [Path(match["path"]).parent == path.parent for match in others]
            first += hits[0]
            five += sum(hits) / 5
        print(f"{options.metric}: P@1 {first / len(paths):.4f}  P@5 {five / len(paths):.4f}")


if __name__ == "__main__":
    main()

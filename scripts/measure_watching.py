#!/usr/bin/env python3
"""How soon a new photo is searchable while many others wait, and what the daemon costs at rest.

    measure_watching.py [--photos 10000] [--new 5] [--rest 60]

The photos that wait are one small BMP each; the new ones are JPEGs of 4 KB. The time runs from the close of a new
file until `resemble search` finds it, that call included. At rest the processor time of the whole process is read
from the kernel.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from made_photos import fill
from temporary_daemon import ROOT, TemporaryDaemon

NEW_BYTES = 4096


def seconds_until_found(daemon, path, photo):
    path.write_bytes(photo)
    closed = time.perf_counter()
    while True:
        if any(Path(match["path"]) == path for match in daemon.resemble("search", path, "-k", 50)):
            return time.perf_counter() - closed


def cpu_seconds(pid):
    """Returns the processor time that a process has used, user and system (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--new", type=int, default=5, help="new photos, one after the other")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds to be watched at rest")
    options = parser.parse_args()
    jpeg = (ROOT / "tests" / "data" / "420.jpg").read_bytes()
    with tempfile.TemporaryDirectory(prefix="photos-") as folder:
        folder = Path(folder).resolve()
        fill(folder, options.photos)
        with TemporaryDaemon(folder, ["--model", "builtin"]) as daemon:
            took, waited = [], []
            for number in range(options.new):
                # What follows the end marker of a JPEG is not looked at: one picture, many contents.
                photo = jpeg.ljust(NEW_BYTES - 4, b"\0") + number.to_bytes(4, "little")
                took.append(seconds_until_found(daemon, folder / f"new{number}.jpg", photo))
                waited.append(daemon.resemble("status")[0]["pending"])
            print("new photos searchable after " + ", ".join(f"{seconds:.2f} s" for seconds in took)
                  + f"; {min(waited)} to {max(waited)} others were still waiting")

            status = daemon.wait_until_idle()
            before, begun = cpu_seconds(daemon.process.pid), time.perf_counter()
            time.sleep(options.rest)
            used, passed = cpu_seconds(daemon.process.pid) - before, time.perf_counter() - begun
            print(f"at rest over {status['files']} files: {used:.2f} s of processor time in {passed:.0f} s, "
                  f"{100 * used / passed:.3f} % of a core; {daemon.memory_mb():.0f} MB")


if __name__ == "__main__":
    main()

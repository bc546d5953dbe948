#!/usr/bin/env python3
"""A restart over many unchanged photos: how long until it answers, until it is idle, and what it read.

    measure_restart.py [--photos 10000]

The photos are one small BMP each, all different, made here.
"""

import argparse
import tempfile
import time
from pathlib import Path

from made_photos import fill
from temporary_daemon import TemporaryDaemon


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="photos-") as folder:
        fill(folder, options.photos)
        with TemporaryDaemon(folder, ["--model", "builtin"]) as daemon:
            begun = time.perf_counter()
            status = daemon.wait_until_idle()
            print(f"indexed {status['files']} files in {time.perf_counter() - begun:.1f} s, "
                  f"peak {daemon.peak_memory_mb():.0f} MB")
            daemon.stop()
            begun = time.perf_counter()
            daemon.start()
            found = daemon.resemble("search", Path(folder) / "0" / "7.bmp", "-k", 1)
            answered = time.perf_counter() - begun
            assert Path(found[0]["path"]).name == "7.bmp", found
            status = daemon.wait_until_idle()
            idle = time.perf_counter() - begun
            print(f"restart: first answer after {answered:.2f} s, idle after {idle:.2f} s, "
                  f"{status['files_indexed']} files read again, {daemon.memory_mb():.0f} MB")


if __name__ == "__main__":
    main()

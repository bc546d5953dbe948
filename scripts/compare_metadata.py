#!/usr/bin/env python3
"""Compares what photos say of themselves, as resembled understands it, with what exiftool reads.

    scripts/compare_metadata.py FOLDER ...

Times are compared by the second on the camera's clock, places to 20 metres, altitudes to a metre. Lists each mismatch, and counts
the kinds of them. Needs exiftool (Debian: libimage-exiftool-perl), and the executables of `cargo build --release`.
"""

import collections
import datetime
import json
import pathlib
import re
import subprocess
import sys

from temporary_daemon import TemporaryDaemon

# In the order in which resembled asks for them.
TIMES = ["EXIF:DateTimeOriginal", "EXIF:CreateDate", "EXIF:ModifyDate", "XMP:DateTimeOriginal", "XMP:DateCreated",
         "XMP:DateTimeDigitized", "XMP:CreateDate"]
MOST_DEGREES = 0.0002
MOST_METRES = 1.0


def exiftool(folder):
    names = [f"-{name}" for name in TIMES] + ["-IPTC:DateCreated", "-IPTC:TimeCreated", "-EXIF:GPSLatitude",
             "-EXIF:GPSLongitude", "-EXIF:GPSLatitudeRef", "-EXIF:GPSLongitudeRef", "-EXIF:GPSAltitude",
             "-EXIF:GPSAltitudeRef"]
    run = subprocess.run(["exiftool", "-json", "-G", "-n", "-r", "-api", "LargeFileSupport=1", *names, folder],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return {found.pop("SourceFile"): found for found in json.loads(run.stdout or b"[]")}


def seconds(text):
    """Reads a time as exiftool prints it; None where it is none that a calendar has."""
    numbers = re.match(r"\s*(\d{4})\D(\d\d)\D(\d\d)(?:\D(\d\d)\D(\d\d)(?:\D(\d\d))?)?", str(text))
    if not numbers:
        return None
    year, month, day, *clock = (int(number or 0) for number in numbers.groups())
    try:
        start = datetime.datetime(year, month, day)
    except ValueError:
        return None
    return start + datetime.timedelta(hours=clock[0], minutes=clock[1], seconds=min(clock[2], 59))


def their_time(told):
    for name in TIMES:
        if (time := seconds(told.get(name, ""))) and time.year >= 1800:
            return time
    if "IPTC:DateCreated" in told:
        return seconds(f"{told['IPTC:DateCreated']} {told.get('IPTC:TimeCreated', '')}".strip())
    return None


def our_times(photo):
    """The camera's clock, where it is known: a time with an offset is told in UTC."""
    taken = photo["taken"]
    if taken is None:
        return None, False
    time = datetime.datetime.fromisoformat(taken.replace("Z", ""))
    return time.replace(microsecond=0), taken.endswith("Z")


def compare(photo, told):
    ours, is_utc = our_times(photo)
    theirs = their_time(told)
    if (ours is None) != (theirs is None):
        yield ("time missed" if ours is None else "time of ours only"), f"{ours} / {theirs}"
    elif ours and ours != theirs:
        offset = (ours - theirs).total_seconds()
        # By an offset that the camera tells, of whole quarters of an hour.
        if not (is_utc and abs(offset) <= 15 * 3600 and offset % 900 == 0):
            yield "time differs", f"{ours} / {theirs}"
    place = [told.get("EXIF:GPSLatitude"), told.get("EXIF:GPSLongitude")]
    place = place if all(isinstance(degrees, (int, float)) for degrees in place) else None
    if place:
        for axis, (name, negative) in enumerate([("Latitude", "S"), ("Longitude", "W")]):
            if str(told.get(f"EXIF:GPS{name}Ref", "")).upper().startswith(negative):
                place[axis] = -abs(place[axis])
    if place == [0, 0]:
        place = None
    found = photo["position"]
    if (found is None) != (place is None):
        yield ("place missed" if found is None else "place of ours only"), f"{found} / {place}"
    elif found and max(abs(one - other) for one, other in zip(found, place)) > MOST_DEGREES:
        yield "place differs", f"{found} / {place}"
    elif found:
        height = told.get("EXIF:GPSAltitude")
        if isinstance(height, (int, float)):
            height = -abs(height) if told.get("EXIF:GPSAltitudeRef") == 1 else height
            if photo["altitude"] is None or abs(photo["altitude"] - height) > MOST_METRES:
                yield "altitude differs", f"{photo['altitude']} / {height}"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    kinds, files = collections.Counter(), 0
    for folder in map(pathlib.Path, sys.argv[1:]):
        folder = folder.resolve()
        told = exiftool(str(folder))
        with TemporaryDaemon(folder) as daemon:
            daemon.wait_until_idle()
            photos = daemon.resemble("list")
        for photo in photos:
            path = photo.get("path")
            if path not in told:
                continue
            files += 1
            for kind, values in compare(photo, told[path]):
                kinds[kind] += 1
                print(f"{kind}: {path}: {values}")
    print(f"{files} files that exiftool reads and resembled indexes; "
          + (", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "no mismatch"))


if __name__ == "__main__":
    main()

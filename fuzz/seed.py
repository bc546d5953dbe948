#!/usr/bin/env python3
"""Fills fuzz/corpus from folders of photos: small files for `decode`, their EXIF blocks for `metadata`.

    fuzz/seed.py DIR...
"""

import hashlib
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
LARGEST = 64 * 1024


def exif_blocks(content):
    """Every EXIF block of a file, from its byte order on; how long it is, the reader finds out."""
    at = content.find(b"Exif\0\0")
    while at >= 0:
        yield content[at + 6 : at + 6 + 16 * 1024]
        at = content.find(b"Exif\0\0", at + 6)
    if content[:4] in (b"II*\0", b"MM\0*"):
        yield content[: 16 * 1024]


def keep(target, content):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha1(content).hexdigest()).write_bytes(content)


def main():
    for path in (path for folder in sys.argv[1:] for path in pathlib.Path(folder).rglob("*") if path.is_file()):
        content = path.read_bytes()
        if len(content) <= LARGEST:
            keep("decode", content)
        for block in exif_blocks(content):
            keep("metadata", block)


if __name__ == "__main__":
    main()

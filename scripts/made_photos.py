"""Small photos made in code, for the measuring scripts beside this file."""

import struct
from pathlib import Path

SIDE = 16


def bitmap(number):
    """Returns a 24-bit BMP of SIDE x SIDE pixels that no other number gives."""
    rows = bytearray()
    for y in range(SIDE):
        for x in range(SIDE):
            rows += bytes(((number >> 8) * 7 + y * 9 & 255, number * 5 + x * 3 & 255, (x * y + number) & 255))
    header = struct.pack("<2sIHHI", b"BM", 54 + len(rows), number & 0xffff, number >> 16, 54)
    return header + struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, len(rows), 2835, 2835, 0, 0) + rows


def fill(folder, count):
    """Writes `count` photos below `folder`, 500 a sub-folder."""
    for number in range(count):
        path = Path(folder) / f"{number // 500}" / f"{number}.bmp"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bitmap(number))

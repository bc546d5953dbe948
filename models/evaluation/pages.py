#!/usr/bin/env python3
"""Draws what photo folders hold besides photos, by a seed: pages of which no two are the same picture.

    models/evaluation/pages.py FOLDER [--seed 1] [--count 100]

Writes FOLDER/KIND/NNN.png: documents, slides, chats and receipts (a few layouts each, every text another), skies, flat
frames, white shapes on transparency, and panoramas of which two and two share the middle third. Needs `pip install
pillow numpy`.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

SYLLABLES = "ka lo mi ter ven dra sol qui pe na fin or ta bel gro shi um ex pal ri".split()
COLOURS = [(32, 74, 135), (143, 36, 36), (24, 96, 60), (70, 70, 70), (150, 90, 10), (88, 40, 120)]


def font(size):
    return ImageFont.load_default(size)


def words(random, count):
    return [
        "".join(random.choice(SYLLABLES, random.integers(1, 4))).capitalize() if random.random() < 0.15
        else "".join(random.choice(SYLLABLES, random.integers(1, 4)))
        for _ in range(count)
    ]


def number(random):
    return f"{random.integers(1, 2000)}.{random.integers(0, 100):02}"


def paragraph(draw, random, left, top, width, bottom, size, fill=(30, 30, 30)):
    """Fills a column with lines of words, and returns where it ends."""
    face, line_height = font(size), round(size * 1.45)
    for _ in range(random.integers(2, 9)):
        if top + line_height > bottom:
            break
        line = ""
        for word in words(random, 30):
            if draw.textlength(f"{line} {word}", face) > width * (0.5 if random.random() < 0.03 else 1):
                break
            line = f"{line} {word}".strip()
        draw.text((left, top), line, fill, face)
        top += line_height
    return top + size


def document(random, index):
    page = Image.new("RGB", (744, 1052), "white")
    draw = ImageDraw.Draw(page)
    layout, colour = index % 4, COLOURS[index % 3]
    if layout < 2:
        draw.rectangle((60, 50, 684, 100), colour)
        draw.text((76, 62), "ORMI VENDRA LTD", "white", font(26))
        draw.text((480, 120), f"No. {random.integers(10000, 99999)}", (30, 30, 30), font(15))
        top = paragraph(draw, random, 60, 130, 240, 230, 14)
        draw.line((60, 300, 684, 300), colour, 2)
        top = 310
        for _ in range(random.integers(3, 22)):
            draw.text((64, top), " ".join(words(random, random.integers(1, 5))), (30, 30, 30), font(14))
            draw.text((600, top), number(random), (30, 30, 30), font(14))
            top += 24
        draw.line((60, top + 4, 684, top + 4), (30, 30, 30), 1)
        draw.text((480, top + 12), f"Total {number(random)}", (30, 30, 30), font(18))
    else:
        top = 70
        if layout == 2:
            draw.text((60, 60), " ".join(words(random, 4)), (20, 20, 20), font(28))
            top = 120
        while top < 960:
            top = paragraph(draw, random, 60, top, 624, 980, 15)
    return page


def slide(random, index):
    dark = index % 5 == 0
    page = Image.new("RGB", (960, 540), (28, 32, 44) if dark else "white")
    draw = ImageDraw.Draw(page)
    colour = COLOURS[index % 5]
    ink = (235, 235, 235) if dark else (40, 40, 40)
    draw.rectangle((0, 0, 960, 12) if index % 2 else (0, 0, 18, 540), colour)
    draw.text((60, 48), " ".join(words(random, random.integers(2, 6))), ink if dark else colour, font(40))
    top = 140
    for _ in range(random.integers(2, 7)):
        draw.ellipse((64, top + 10, 74, top + 20), ink)
        draw.text((90, top), " ".join(words(random, random.integers(2, 9))), ink, font(24))
        top += 52
    if random.random() < 0.4:
        bars = random.integers(3, 7)
        for bar in range(bars):
            height = random.integers(20, 200)
            left = 600 + bar * 300 // bars
            draw.rectangle((left, 480 - height, left + 240 // bars, 480), colour)
    draw.text((880, 505), str(index + 1), ink, font(14))
    return page


def chat(random, index):
    dark = index % 3 == 0
    page = Image.new("RGB", (450, 975), (18, 22, 26) if dark else (236, 229, 221))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, 450, 80), (31, 44, 52) if dark else (7, 94, 84))
    draw.ellipse((16, 24, 56, 64), COLOURS[index % len(COLOURS)])
    draw.text((70, 34), " ".join(words(random, 2)), "white", font(18))
    top = 100
    while top < 880:
        lines = random.integers(1, 5)
        width, height = random.integers(120, 320), 14 + 22 * lines
        mine = random.random() < 0.5
        left = 430 - width if mine else 20
        fill = ((5, 96, 86) if mine else (38, 45, 49)) if dark else ((220, 248, 198) if mine else (255, 255, 255))
        draw.rounded_rectangle((left, top, left + width, top + height), 10, fill)
        for line in range(lines):
            text = " ".join(words(random, 12))
            while draw.textlength(text, font(15)) > width - 20:
                text = text.rsplit(" ", 1)[0] if " " in text else text[:-1]
            draw.text((left + 10, top + 8 + 22 * line), text, (230, 230, 230) if dark else (20, 20, 20), font(15))
        top += height + random.integers(6, 24)
    draw.rounded_rectangle((12, 915, 380, 960), 22, (38, 45, 49) if dark else "white")
    return page


def receipt(random, index):
    items = random.integers(4, 26)
    page = Image.new("RGB", (360, 260 + 22 * int(items)), (250, 250, 247))
    draw = ImageDraw.Draw(page)
    shop = index % 5
    draw.text((80, 20), ["SOLMART", "BELGRO", "Kalo & Fils", "TERVEN", "PALQUI"][shop], (20, 20, 20), font(36))
    draw.text((90, 70), f"{random.integers(1, 29):02}.{random.integers(1, 13):02}.2024 {random.integers(8, 21):02}:{random.integers(0, 60):02}", (20, 20, 20), font(14))
    top = 110
    for _ in range(items):
        draw.text((20, top), " ".join(words(random, 2))[:22].upper(), (20, 20, 20), font(14))
        draw.text((290, top), number(random), (20, 20, 20), font(14))
        top += 22
    draw.line((20, top + 4, 340, top + 4), (20, 20, 20), 1)
    draw.text((20, top + 12), "TOTAL", (20, 20, 20), font(24))
    draw.text((230, top + 12), number(random), (20, 20, 20), font(24))
    for bar in range(60):
        if random.random() < 0.5:
            draw.rectangle((60 + bar * 4, top + 60, 62 + bar * 4, top + 110), (20, 20, 20))
    return page


def noise(random, width, height, cells):
    """Returns smooth noise from 0 to 1."""
    coarse = random.random((cells, max(2, cells * width // height)))
    image = Image.fromarray((coarse * 255).astype(np.uint8))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.float64) / 255


def sky(random, index):
    width, height = 640, 427
    top, bottom = np.array([random.integers(40, 110), random.integers(100, 160), random.integers(180, 235)]), np.array(
        [random.integers(150, 220), random.integers(190, 230), random.integers(225, 250)]
    )
    rows = np.linspace(0, 1, height)[:, None, None]
    pixels = top * (1 - rows) + bottom * rows + np.zeros((height, width, 3))
    if index % 2:
        clouds = sum(noise(random, width, height, 4 * 2**octave) / 2**octave for octave in range(4)) / 1.9
        cover = np.clip((clouds - 0.5) * random.uniform(1, 5), 0, 1)[..., None]
        pixels = pixels * (1 - cover) + 245 * cover
    pixels += random.normal(0, 2, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def flat(random, index):
    size = [(640, 427), (427, 640), (640, 480), (512, 512)][index % 4]
    level = [(0, 0, 0), (255, 255, 255), (128, 128, 128), tuple(random.integers(0, 256, 3))][index // 4 % 4]
    pixels = np.zeros((size[1], size[0], 3)) + level
    if index % 3:
        pixels += random.normal(0, random.uniform(0.5, 4), pixels.shape)
    if index % 5 == 0:
        ys, xs = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]
        pixels *= 1 - 0.06 * (xs**2 + ys**2)[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def white_shape(random, index):
    page = Image.new("RGBA", (512, 512), (255, 255, 255, 0))
    draw = ImageDraw.Draw(page)
    white, centre, radius = (255, 255, 255, 255), random.integers(180, 332, 2), random.integers(60, 170)
    box = [*(centre - radius).tolist(), *(centre + radius).tolist()]
    match index % 6:
        case 0:
            points = random.integers(4, 9)
            angles = [math.pi * step / points + random.random() for step in range(2 * int(points))]
            draw.polygon([(centre[0] + math.cos(a) * radius / (1 + step % 2), centre[1] + math.sin(a) * radius / (1 + step % 2)) for step, a in enumerate(sorted(angles))], white)
        case 1:
            draw.ellipse(box, None, white, int(random.integers(8, 50)))
        case 2:
            draw.text((40, int(centre[1])), " ".join(words(random, 2)), white, font(int(random.integers(50, 110))))
        case 3:
            for bar in range(int(random.integers(3, 8))):
                height = random.integers(40, 400)
                draw.rectangle((60 + bar * 55, 460 - int(height), 95 + bar * 55, 460), white)
        case 4:
            draw.rectangle(box, white)
        case 5:
            draw.line([tuple(random.integers(30, 480, 2).tolist()) for _ in range(5)], white, int(random.integers(6, 30)))
    return page


def panorama(random, index):
    """A wide view; that of an odd number has its middle third from the one before."""
    width, height = 1500, 500
    seeds = [np.random.default_rng([7, index]), np.random.default_rng([8, index // 2]), np.random.default_rng([9, index])]
    thirds = []
    for seed in seeds:
        relief = sum(noise(seed, width // 3, height, 3 * 2**octave) / 2**octave for octave in range(6)) / 2
        colour = seed.uniform(0.3, 1, 3)
        thirds.append(relief[..., None] * 255 * colour)
    return Image.fromarray(np.clip(np.concatenate(thirds, 1), 0, 255).astype(np.uint8)).filter(ImageFilter.SMOOTH)


KINDS = {
    "document": document,
    "slide": slide,
    "chat": chat,
    "receipt": receipt,
    "sky": sky,
    "flat": flat,
    "white_shape": white_shape,
    "panorama": panorama,
}


def pages(kind, count, seed=1):
    """Yields pictures, the same for each seed."""
    for index in range(count):
        random = np.random.default_rng([seed, list(KINDS).index(kind), index])
        yield KINDS[kind](random, index)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--count", type=int, default=100)
    arguments = arguments.parse_args()
    for kind in KINDS:
        folder = arguments.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        for index, page in enumerate(pages(kind, arguments.count, arguments.seed)):
            page.save(folder / f"{index:03}.png")


if __name__ == "__main__":
    main()

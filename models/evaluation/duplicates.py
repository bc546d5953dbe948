#!/usr/bin/env python3
"""Measures what the daemon calls the same and near, on a library that it has indexed.

    models/evaluation/duplicates.py make FOLDER [--photos ../shared/photos] [--seed 1]
    resembled FOLDER/library                       # until `resemble status` says idle
    resemble duplicates near --json > near.jsonl
    resemble check --json FOLDER/card > check.jsonl
    models/evaluation/duplicates.py score FOLDER near.jsonl check.jsonl

`make` puts the photos of `neardup/` and `classes/` into a library, with 50 of each kind of page of `pages.py`, and other pages
and edited copies of 120 photos on a card. `score` prints how many pairs of shots of one scene are in one group and how many
pairs of the groups are right, how many pages of the library are in a group with another one, what `check` calls the edited
copies, and how many pages of the card, none of which is in the library, are called the same or near. Needs `pip install
numpy pillow`.
"""

import argparse
import io
import itertools
import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

import pages

# Photos of `classes/` that show one scene though no folder says so: seen by eye.
UNTOLD = """
cougar_face/image_0012 cougar_face/image_0064
cup/image_0044 cup/image_0045
emu/image_0022 emu/image_0037
flamingo/image_0047 flamingo/image_0048
grand_piano/image_0004 grand_piano/image_0014
lamp/image_0011 lamp/image_0018
okapi/image_0004 okapi/image_0027
okapi/image_0008 okapi/image_0031
"""
PAGES = 50
COPIED = 120
JPEG = 85


def jpeg(photo, quality=JPEG):
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def scaled(photo, factor):
    return photo.resize([max(1, round(side * factor)) for side in photo.size], Image.Resampling.LANCZOS)


def cropped(photo, share):
    width, height = photo.size
    left, top = int(width * (1 - share) / 2), int(height * (1 - share) / 2)
    return photo.crop((left, top, width - left, height - top))


def tinted(photo):
    return Image.fromarray(np.clip(np.asarray(photo, float) * [1.12, 1.0, 0.85], 0, 255).astype(np.uint8))


def screenshot(photo):
    width, height = photo.size
    screen = Image.new("RGB", (width, int(height * 1.35)), (20, 20, 20))
    screen.paste(photo, (0, int(height * 0.15)))
    return screen


def written_over(photo):
    photo = photo.copy()
    face = ImageFont.load_default(max(12, photo.height // 9))
    ImageDraw.Draw(photo).text((10, photo.height * 0.75), "Greetings from here", "white", face)
    return photo


EDITS = {
    "quality 20": lambda photo: jpeg(photo, 20),
    "half": lambda photo: jpeg(scaled(photo, 0.5)),
    "quarter": lambda photo: jpeg(scaled(photo, 0.25)),
    "brighter": lambda photo: jpeg(ImageEnhance.Brightness(photo).enhance(1.5)),
    "darker": lambda photo: jpeg(ImageEnhance.Brightness(photo).enhance(0.6)),
    "tinted": lambda photo: jpeg(tinted(photo)),
    "grey": lambda photo: jpeg(photo.convert("L").convert("RGB")),
    "mirrored": ImageOps.mirror,
    "turned by 90": lambda photo: photo.transpose(Image.Transpose.ROTATE_90),
    "turned by 5": lambda photo: photo.rotate(5, Image.Resampling.BICUBIC),
    "cropped to 80 %": lambda photo: cropped(photo, 0.8),
    "cropped to 60 %": lambda photo: cropped(photo, 0.6),
    "border": lambda photo: ImageOps.expand(photo, int(0.06 * min(photo.size)), "white"),
    "screenshot": screenshot,
    "written over": written_over,
}


def make(arguments):
    library, card = arguments.folder / "library", arguments.folder / "card"
    for kind in ("neardup", "classes"):
        shutil.copytree(arguments.photos / kind, library / kind)
    for kind in pages.KINDS:
        for folder in (library, card):
            (folder / "pages" / kind).mkdir(parents=True)
        for number, page in enumerate(pages.pages(kind, 2 * PAGES, arguments.seed)):
            page.save((library if number < PAGES else card) / "pages" / kind / f"{number:03}.png")
    photos = sorted(arguments.photos.glob("classes/*/*"))[7::14][:COPIED]
    for name, edit in EDITS.items():
        (card / "edits" / name).mkdir(parents=True)
        for number, file in enumerate(photos):
            edited = edit(ImageOps.exif_transpose(Image.open(file)).convert("RGB"))
            edited.save(card / "edits" / name / f"{number:03} {file.parent.name} {file.stem}.png")


def read(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def pairs(groups):
    return {frozenset(pair) for group in groups for pair in itertools.combinations(group, 2)}


def score(arguments):
    library = arguments.folder / "library"
    groups = [[photo["path"] for photo in group["photos"]] for group in read(arguments.near)]
    scenes = defaultdict(list)
    for file in sorted(library.glob("neardup/*/*")):
        scenes[file.parent.name].append(str(file.resolve()))
    photos = [[path for path in group if "/library/pages/" not in path] for group in groups]
    found = pairs(photos)
    for name, meant in (("all", scenes), ("without landmarks", {k: v for k, v in scenes.items() if not k.startswith("landmark")})):
        right = pairs(meant.values())
        print(f"shots of one scene, {name}: {len(right & found)} of {len(right)} pairs found ({len(right & found) / len(right):.3f})")
    right = pairs(scenes.values())
    untold = pairs([str((library / "classes" / f"{name}.jpg").resolve()) for name in line.split()] for line in UNTOLD.split("\n"))
    shares = [len(found & meant) / max(1, len(found)) for meant in (right, right | untold)]
    print(f"of {len(found)} pairs of photos in groups, {shares[0]:.3f} are shots of one scene, {shares[1]:.3f} with those that nobody told")
    for kind in pages.KINDS:
        grouped = [path for group in groups for path in group if f"/library/pages/{kind}/" in path]
        print(f"in a group: {len(grouped)} of {PAGES} pages of the kind {kind}")
    states = defaultdict(Counter)
    for line in read(arguments.check):
        path, state = line["path"], line["state"]
        folder = Path(path).parent
        if "/card/edits/" in path and state in ("same", "near"):
            original = Path(line["photo"]["path"])
            if f"{original.parent.name} {original.stem}" not in path:
                state = f"{state} as another photo"
        states[f"{folder.parent.name}: {folder.name}"][state] += 1
    for name, counted in states.items():
        total = sum(counted.values())
        print(f"{name}: " + ", ".join(f"{state} {count / total:.3f}" for state, count in counted.most_common()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    making = commands.add_parser("make")
    making.add_argument("folder", type=Path)
    making.add_argument("--photos", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "photos")
    making.add_argument("--seed", type=int, default=1)
    making.set_defaults(run=make)
    scoring = commands.add_parser("score")
    scoring.add_argument("folder", type=Path)
    scoring.add_argument("near", type=Path)
    scoring.add_argument("check", type=Path)
    scoring.set_defaults(run=score)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()

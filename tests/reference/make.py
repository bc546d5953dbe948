#!/usr/bin/env python3
"""Makes the reference numbers that the Rust tests compare with, by Pillow and ONNX Runtime.

    make.py tensors                                    writes tensors.json (needs Pillow and NumPy)
    make.py embeddings --photos DIR --model FILE.onnx  writes embeddings.json (needs ONNX Runtime too)

Both files lie beside this script and are committed; running it again must not change them, but for the
last digits where another version of Pillow or ONNX Runtime rounds differently.

The steps are those of the published networks: short side to 256 by Pillow's antialiased bilinear filter, the
long side cut off to whole pixels, centre crop of 224 with Python's rounding, /255, ImageNet mean and std.
"""

import argparse
import base64
import json
import pathlib

import numpy
import PIL
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
MEAN = numpy.array([0.485, 0.456, 0.406], dtype=numpy.float32)
STD = numpy.array([0.229, 0.224, 0.225], dtype=numpy.float32)

# Pictures that the Rust test draws itself: wide, tall, square, smaller than the network, odd, extreme.
DRAWN = [(640, 427), (427, 640), (512, 512), (90, 120), (257, 256), (259, 301), (1500, 40), (33, 900)]

# Photos of the reference set: every 60th of classes/ in the order of their paths, and all of fullres/.
EVERY = 60


def resized_and_cropped(image, short=256, crop=224):
    width, height = image.size
    if width <= height:
        size = (short, int(short * height / width))
    else:
        size = (int(short * width / height), short)
    image = image.resize(size, Image.BILINEAR)
    left, top = int(round((size[0] - crop) / 2.0)), int(round((size[1] - crop) / 2.0))
    return image.crop((left, top, left + crop, top + crop))


def tensor(image):
    values = numpy.asarray(resized_and_cropped(image), dtype=numpy.float32) / numpy.float32(255)
    return ((values - MEAN) / STD).transpose(2, 0, 1)


def drawn(width, height):
    """A picture with smooth and sharp parts; the Rust test has the same formula."""
    y, x = numpy.mgrid[0:height, 0:width].astype(numpy.int64)
    red = (x * 255 // max(width - 1, 1) + 40 * ((x // 16 + y // 16) % 2)) % 256
    green = (y * 255 // max(height - 1, 1) + (x * y) % 64) % 256
    blue = (x * 7 + y * 13 + (x * x + y * y) // 50) % 256
    return Image.fromarray(numpy.stack([red, green, blue], axis=2).astype(numpy.uint8))


def make_tensors():
    pictures = []
    for width, height in DRAWN:
        levels = numpy.asarray(resized_and_cropped(drawn(width, height))).reshape(-1)
        # Every 61st level: 61 is prime to the row length, so all columns and channels take their turn.
        pictures.append({"width": width, "height": height, "levels": levels[::61].tolist()})
    write("tensors.json", {"pillow": PIL.__version__, "every": 61, "pictures": pictures})


def make_embeddings(photos, model):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    paths = sorted(path for path in (photos / "classes").rglob("*.jpg"))[::EVERY]
    paths += sorted((photos / "fullres").glob("*.jpg"))
    rows = []
    for path in paths:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        embedding = session.run(None, {name: tensor(image)[None]})[0].reshape(-1)
        scale = float(numpy.abs(embedding).max()) / 32767
        rows.append(
            {
                "path": path.relative_to(photos).as_posix(),
                "norm": round(float(numpy.linalg.norm(embedding)), 5),
                "scale": scale,
                "int16": base64.b64encode(numpy.round(embedding / scale).astype("<i2").tobytes()).decode(),
            }
        )
    versions = {"pillow": PIL.__version__, "onnxruntime": onnxruntime.__version__}
    write("embeddings.json", {**versions, "model": model.name, "photos": rows})


def write(name, content):
    text = json.dumps(content, indent=None, separators=(",", ":")).replace('{"path"', '\n{"path"')
    (HERE / name).write_text(text.replace('{"width"', '\n{"width"') + "\n")
    print(name, len(text), "bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("tensors")
    embeddings = commands.add_parser("embeddings")
    embeddings.add_argument("--photos", type=pathlib.Path, required=True)
    embeddings.add_argument("--model", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "tensors":
        make_tensors()
    else:
        make_embeddings(arguments.photos, arguments.model)


if __name__ == "__main__":
    main()

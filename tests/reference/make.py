#!/usr/bin/env python3
"""Makes the reference numbers that the Rust tests compare with, by Pillow and ONNX Runtime.

    make.py tensors                                    writes tensors.json (needs Pillow and NumPy)
    make.py jpegs                                      writes jpegs.json and ../data/*.jpg (needs Pillow and NumPy)
    make.py formats                                    writes formats.json and ../data/*.{heic,avif,jxl} (needs Pillow,
                                                       NumPy, pillow-heif and pillow-jxl-plugin)
    make.py embeddings --photos DIR --model FILE.onnx  writes embeddings.json (needs ONNX Runtime too)

What they write is committed; running it again must not change them, but for the
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
from PIL import Image, ImageFilter, ImageOps

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


# Every way of coding that Pillow can write, at a size that fills no block.
JPEGS = {
    "420": {"subsampling": 2},
    "422": {"subsampling": 1},
    "444": {"subsampling": 0, "quality": 97},
    "progressive": {"progressive": True, "subsampling": 2},
    "progressive_444": {"progressive": True, "subsampling": 0},
    "restarts": {"subsampling": 2, "restart_marker_blocks": 3},
    "grey": {"mode": "L"},
    "grey_progressive": {"mode": "L", "progressive": True},
    "cmyk": {"mode": "CMYK", "quality": 90},
}


def make_jpegs():
    pictures = []
    (HERE / "../data").mkdir(exist_ok=True)
    for name, options in JPEGS.items():
        path = HERE / f"../data/{name}.jpg"
        mode = options.pop("mode", "RGB")
        # Half as fine as the other drawings, so that chroma has something to say.
        image = drawn(194, 122).resize((97, 61), Image.BOX).convert(mode)
        image.save(path, **{"quality": 75, **options})
        levels = numpy.asarray(Image.open(path).convert("RGB")).reshape(-1)
        pictures.append({"name": name, "levels": levels[::7].tolist()})
    write("jpegs.json", {"pillow": PIL.__version__, "every": 7, "pictures": pictures})


# Kinds of HEIC, AVIF and JPEG XL: file, mode of the picture, options of its writer.
FORMATS = [
    ("photo.heic", "RGB", {"quality": 60}),
    ("photo.avif", "RGB", {"quality": 60}),
    ("photo.jxl", "RGB", {"quality": 80}),
    ("deep.heic", "RGB;16", {"quality": 60}),
    ("grey.heic", "L", {"quality": 60}),
    ("grey.avif", "L", {"quality": 60}),
    ("clear.avif", "RGBA", {"quality": 60}),
    ("clear.jxl", "RGBA", {"lossless": True}),
]

# Four flat quarters, so that every way of turning shows.
QUARTERS = [[(0, 0, 0), (255, 0, 0)], [(0, 255, 0), (0, 0, 255)]]


def make_formats():
    import pillow_heif
    import pillow_jxl  # noqa: F401, Pillow finds it once it is imported

    pillow_heif.register_heif_opener()
    names = {".heic": "HEIF", ".avif": "AVIF", ".jxl": "JXL"}
    pictures = []
    for name, mode, options in FORMATS:
        path = HERE / f"../data/{name}"
        # Soft, since libraries differ in where they put the samples of colour between the pixels.
        image = drawn(97, 61).filter(ImageFilter.GaussianBlur(3))
        if mode == "RGB;16":
            values = numpy.asarray(image).astype("<u2") * 257
            pillow_heif.encode(mode, image.size, values.tobytes(), path, **options)
        else:
            image = image.convert(mode)
            if mode == "RGBA":
                image.putalpha(Image.linear_gradient("L").resize(image.size))
            image.save(path, names[path.suffix], **options)
        image = Image.open(path).convert("RGBA")
        on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        levels = numpy.asarray(on_white).reshape(-1)
        pictures.append({"name": name, "levels": levels[::7].tolist()})
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        image = Image.fromarray(numpy.array(QUARTERS, dtype=numpy.uint8)).resize((48, 32), Image.NEAREST)
        for suffix in [".heic", ".avif"]:
            path = HERE / f"../data/orientation_{orientation}{suffix}"
            image.save(path, names[suffix], exif=exif.tobytes(), quality=90)
    write("formats.json", {"pillow": PIL.__version__, "every": 7, "pictures": pictures})


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
    (HERE / name).write_text(text.replace('{"width"', '\n{"width"').replace('{"name"', '\n{"name"') + "\n")
    print(name, len(text), "bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    commands.add_parser("tensors")
    commands.add_parser("jpegs")
    commands.add_parser("formats")
    embeddings = commands.add_parser("embeddings")
    embeddings.add_argument("--photos", type=pathlib.Path, required=True)
    embeddings.add_argument("--model", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "tensors":
        make_tensors()
    elif arguments.command == "jpegs":
        make_jpegs()
    elif arguments.command == "formats":
        make_formats()
    else:
        make_embeddings(arguments.photos, arguments.model)


if __name__ == "__main__":
    main()

"""Training samples on a GPU: photos decoded once into its memory, a fresh crop of a photo every time, and the
teacher's answer to exactly that crop. A patient and consistent teacher needs nothing stored but the photos.
"""

import math
from multiprocessing import Pool

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from PIL import Image
from torch.nn import functional as F

import prepare
import targets
from stored import VALIDATION_STRIDE

STORED_SIZE = 256  # photos are kept as squares of this size, beside their aspect ratio


class TorchTeacher(torch.nn.Module):
    """Runs a plain feed-forward ONNX encoder in torch: Conv, Clip, Relu, Add, GlobalAveragePool, Flatten."""

    def __init__(self, path, outputs):
        super().__init__()
        graph = onnx.load(path).graph
        self.constants = {}
        for number, tensor in enumerate(graph.initializer):
            self.register_buffer(f"constant{number}", torch.from_numpy(numpy_helper.to_array(tensor).copy()))
            self.constants[tensor.name] = f"constant{number}"
        self.nodes = [(node.op_type, list(node.input), node.output[0],
                       {a.name: helper.get_attribute_value(a) for a in node.attribute}) for node in graph.node]
        self.input = next(i.name for i in graph.input if i.name not in self.constants)
        self.outputs = outputs

    def forward(self, x):
        values = {self.input: x}

        def get(name):
            return values[name] if name in values else getattr(self, self.constants[name])

        for kind, inputs, output, attributes in self.nodes:
            first, *rest = [get(name) for name in inputs if name]
            if kind == "Conv":
                pads = attributes.get("pads", [0] * 4)
                result = F.conv2d(F.pad(first, (pads[1], pads[3], pads[0], pads[2])), *rest,
                                  stride=attributes.get("strides", 1), dilation=attributes.get("dilations", 1),
                                  groups=attributes.get("group", 1))
            elif kind == "Clip":
                low, high = rest if rest else (attributes["min"], attributes["max"])
                result = first.clamp(float(low), float(high))
            elif kind == "Relu":
                result = first.relu()
            elif kind == "Add":
                result = first + rest[0]
            elif kind == "GlobalAveragePool":
                result = first.mean((2, 3), keepdim=True)
            elif kind == "Flatten":
                result = first.flatten(1)
            elif kind == "Constant":
                result = torch.from_numpy(numpy_helper.to_array(attributes["value"]).copy()).to(x.device)
            else:
                raise NotImplementedError(f"the teacher has a {kind} node")
            values[output] = result
        return [values[name] for name in self.outputs]


def decode(path):
    try:
        image = prepare.open_photo(path.read_bytes())
    except Exception:  # whatever Pillow raises, it condemns this photo only
        return None
    aspect = image.width / image.height
    return np.asarray(image.resize((STORED_SIZE, STORED_SIZE), Image.BILINEAR)), aspect


class FreshViews:
    """All photos on the device; the same interface as StoredViews."""

    def __init__(self, photos, teacher_path, exclude, config, preparation, device, basis=None):
        setting = config["teacher"]
        self.config, self.preparation, self.device = config, preparation, device
        self.grid, self.teacher_size = setting["grid"], setting["size"]
        self.teacher = TorchTeacher(teacher_path, [setting["embedding"], setting["map"]]).to(device).eval()
        jobs = {photo: path for photo, path, _ in prepare.plan(photos, config, prepare.named_sources(exclude))}
        digests = {prepare.digest(path) for folder in exclude for path in prepare.photos_under(folder)}
        with Pool() as pool:
            kept = [(photo, path) for photo, path in jobs.items() if prepare.digest(path) not in digests]
            decoded = pool.map(decode, [path for _, path in kept], chunksize=64)
            held = [item for item in pool.map(decode, [path for folder in exclude
                                                       for path in prepare.photos_under(folder)]) if item]
        found = [(photo, *item) for (photo, _), item in zip(kept, decoded) if item is not None]
        self.pixels = torch.from_numpy(np.stack([item[1] for item in found])).to(device)
        self.aspects = torch.tensor([item[2] for item in found], device=device)
        photo_ids = torch.tensor([item[0] for item in found], device=device)

        embeddings, cells = self._center_answers(self.pixels, self.aspects)
        if held:
            twins = self._twins(embeddings, held)
            self.pixels, self.aspects, photo_ids = self.pixels[~twins], self.aspects[~twins], photo_ids[~twins]
            embeddings = embeddings[~twins]
        self.basis = basis or targets.fit_basis(embeddings.cpu().numpy(), config["student"]["dim"])
        self.mean, self.directions = (torch.from_numpy(self.basis[name]).to(device) for name in ("mean", "basis"))
        cells = cells.flatten(0, 1).double()
        self.map_mean = cells.mean(0).float()
        variance, directions = torch.linalg.eigh(torch.cov(cells.T))
        directions, variance = (part.flip(-1)[..., :setting["map_dim"]] for part in (directions, variance))
        self.map_basis = (directions / variance.mean().sqrt()).float()

        self.all_targets = self._project(embeddings)
        held_out = photo_ids % VALIDATION_STRIDE == 0
        self.training = torch.nonzero(~held_out).flatten()
        self.held_out = torch.nonzero(held_out).flatten()[:config["train"]["validation_photos"]]
        self._start_pass()

    def count(self):
        return len(self.training)

    def batch(self, count, size):
        if self.position + count > len(self.order):
            self._start_pass()
        rows = self.order[self.position:self.position + count]
        self.position += count
        views = self._crop(self.pixels[rows], *self._random_boxes(self.aspects[rows]))
        embeddings, cells = self._answer(views)
        maps = (cells - self.map_mean) @ self.map_basis
        full = self.config["preprocessing"]["size"]
        views = F.interpolate(views, size=(full, full), mode="bilinear", antialias=True)
        x, maps = self.preparation.augmented(views, maps, size)
        return x, self._project(embeddings), maps

    def bank(self, count):
        return self.all_targets[self.training[torch.randint(len(self.training), (count,), device=self.device)]]

    def calibration(self, count):
        """Network input and targets of `count` training photos, center crops."""
        return self._center_inputs(self.training[:count])

    def validation(self):
        for rows in self.held_out.split(256):
            yield self._center_inputs(rows)

    def _center_inputs(self, rows):
        size = self.config["preprocessing"]["size"]
        views = self._crop(self.pixels[rows], *self._center_boxes(self.aspects[rows]))
        views = F.interpolate(views, size=(size, size), mode="bilinear", antialias=True)
        return self.preparation.plain(views), self.all_targets[rows]

    def _start_pass(self):
        self.order, self.position = self.training[torch.randperm(len(self.training), device=self.device)], 0

    def _project(self, embeddings):
        return F.normalize((embeddings - self.mean) @ self.directions)

    @torch.no_grad()
    def _answer(self, views):
        with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=self.device != "cpu"):
            embedding, feature_map = self.teacher(self.preparation.plain(views))
        cells = F.adaptive_avg_pool2d(feature_map.float(), self.grid).flatten(2).transpose(1, 2)
        return F.normalize(embedding.float()), cells

    def _center_answers(self, pixels, aspects, maps_of=2048):
        embeddings, cells = [], []
        for rows in torch.arange(len(pixels), device=self.device).split(256):
            answer = self._answer(self._crop(pixels[rows], *self._center_boxes(aspects[rows])))
            embeddings.append(answer[0])
            if rows[0] < maps_of:
                cells.append(answer[1])
        return torch.cat(embeddings), torch.cat(cells)

    def _twins(self, embeddings, held):
        pixels = torch.from_numpy(np.stack([item[0] for item in held])).to(self.device)
        aspects = torch.tensor([item[1] for item in held], device=self.device)
        held_embeddings, _ = self._center_answers(pixels, aspects)
        limit = self.config["prepare"]["twin_cosine"]
        return torch.cat([(part @ held_embeddings.T).amax(1) > limit for part in embeddings.split(4096)])

    def _center_boxes(self, aspects):
        """Half width, half height and center, in shares of the photo."""
        share = self.config["preprocessing"]["size"] / self.config["preprocessing"]["short_side"]
        zero = torch.zeros_like(aspects)
        return share / aspects.clamp(min=1), share * aspects.clamp(max=1), zero, zero

    def _random_boxes(self, aspects):
        def uniform(low, high):
            return low + (high - low) * torch.rand_like(aspects)

        area = uniform(*self.config["prepare"]["crop_area"])
        shape = torch.exp(uniform(-1, 1) * math.log(4 / 3)) / aspects  # of the box, in the stored square
        width, height = (area * shape).sqrt().clamp(max=1), (area / shape).sqrt().clamp(max=1)
        return width, height, uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)

    def _crop(self, pixels, width, height, x, y):
        """Boxes of stored photos, uint8 [N, S, S, 3], to float [N, 3, T, T] at the teacher's size."""
        zero = torch.zeros_like(width)
        affine = torch.stack([torch.stack([width, zero, x], 1), torch.stack([zero, height, y], 1)], 1)
        shape = (len(pixels), 3, self.teacher_size, self.teacher_size)
        grid = F.affine_grid(affine, shape, align_corners=False)
        return F.grid_sample(pixels.permute(0, 3, 1, 2).float(), grid, padding_mode="border", align_corners=False)

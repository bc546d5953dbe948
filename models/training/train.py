#!/usr/bin/env python3
"""Distils the teacher into the student: no labels, only the teacher's answer to each view.

    train.py --views DIR --out DIR --until 2030-01-31T18:00 [--init ENCODER.onnx]    CPU, on what prepare.py made
    train.py --photos DIR --teacher T.onnx --exclude DIR --out DIR --minutes 25      CUDA, a fresh crop each time

The schedule follows the clock and ends in a learning rate of zero at the deadline, however fast the machine
is and however often the process is stopped and continued. Started again with the same --out, it goes on from
the last checkpoint.

On a CPU, every worker is a process with one thread and its own part of the views, and gradients are averaged
once a step. That is 1.4 times the samples of one process with as many threads, and a worker that waits for a
busy core wastes nothing. The network runs in bfloat16 where the CPU has it (1.6 times the samples), weights and
losses stay float32.

Loss: (1 - cosine) to the target, the squared distance, the KL divergence between the similarity rows of student
and teacher against a bank of teacher targets (the order of neighbors, not only the point), and the teacher's
last feature map.
"""

import argparse
import copy
import datetime
import json
import math
import os
import time
import tomllib
from pathlib import Path

import numpy as np
import torch
from torch import multiprocessing
from torch.nn import functional as F

import edits
import stored
import targets
from muon import Muon
from student import Student

LONGEST_STEP_SECONDS = 30  # a longer one was a stopped process, and does not count as training
BUSY_SHARE = 0.5  # a step with less of a core than this was mostly another process's, and counts by its own work
MINUTES_BETWEEN_CHECKPOINTS = 5
CALIBRATION_VIEWS = 1024


class Schedule:
    """Progress from 0 to 1 at the deadline. A pause, or a machine that is busy with other things, shortens the
    run, but the learning rate still falls smoothly to zero over what is left of it."""

    def __init__(self, config, deadline, progress=0.0):
        self.config, self.deadline, self.progress = config, deadline, progress
        self.last, self.last_work = time.time(), time.process_time()

    def advance(self):
        """Counts the time since the last call, and returns it in seconds."""
        now, work = time.time(), time.process_time()
        spent = min(now - self.last, LONGEST_STEP_SECONDS, (work - self.last_work) / BUSY_SHARE)
        self.last, self.last_work = now, work
        remaining = max(self.deadline - now, 0)
        self.progress += (1 - self.progress) * (spent / (remaining + spent) if remaining else 1)
        return spent

    def rate(self):
        """Share of the full learning rate."""
        warm_up = self.config["warm_up"]
        if self.progress < warm_up:
            return self.progress / warm_up
        return 0.5 * (1 + math.cos(math.pi * (self.progress - warm_up) / (1 - warm_up)))

    def size(self, full):
        """Pixels: little ones first, which are quick to learn from."""
        return next((size for until, size in self.config["sizes"] if self.progress < until), full)


class Losses:
    """The loss of a batch, and running means of its parts for the log."""

    NAMES = ("cosine", "point", "ranking", "map")

    def __init__(self, config):
        self.weights, self.temperature = config["loss"], config["temperature"]
        self.sums, self.count = np.zeros(len(self.NAMES)), 0

    def __call__(self, embedding, cells, wanted, maps, bank):
        unit = F.normalize(embedding)
        cosine = (unit * wanted).sum(1).mean()
        point = (embedding - wanted).square().sum(1).mean()
        ranking = F.kl_div(F.log_softmax(unit @ bank.T / self.temperature, 1),
                           F.softmax(wanted @ bank.T / self.temperature, 1), reduction="batchmean")
        local = F.mse_loss(cells, maps)
        self.sums += torch.stack([cosine, point, ranking, local]).detach().cpu().numpy()
        self.count += 1
        return (1 - cosine + self.weights["point"] * point + self.weights["ranking"] * ranking
                + self.weights["map"] * local)

    def take_means(self):
        means = self.sums / max(self.count, 1)
        self.sums, self.count = np.zeros(len(self.NAMES)), 0
        return dict(zip(self.NAMES, means.round(4).tolist()))


class Preparation:
    """Pixels 0..255 to network input: flip, resize, edit, normalize."""

    def __init__(self, config, device):
        self.mean = torch.tensor(config["preprocessing"]["mean"], device=device).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(config["preprocessing"]["std"], device=device).view(1, 3, 1, 1) * 255
        self.grid, self.edited = config["teacher"]["grid"], config["train"]["edited"]

    def plain(self, pixels):
        return ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def augmented(self, pixels, maps, size):
        flipped = torch.rand(len(pixels), device=pixels.device) < 0.5
        mirrored = maps.view(len(maps), self.grid, self.grid, -1).flip(2).reshape(maps.shape)
        maps = torch.where(flipped.view(-1, 1, 1), mirrored, maps)
        if size != pixels.shape[-1]:
            pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
        pixels = torch.where(flipped.view(-1, 1, 1, 1), pixels.flip(3), pixels).float()
        return self.plain(edits.edit(pixels.contiguous(), self.edited)), maps


class Averager:
    """Averages gradients between worker processes through shared memory, with one barrier a step. Worker 0
    also tells the others how to go on.

    Two buffers in turn: a worker that is already in the next step writes to the other one, and none can be two
    steps ahead."""

    def __init__(self, workers, size):
        self.buffers = torch.zeros(2, workers, size).share_memory_()
        self.control = torch.zeros(2, 3, dtype=torch.float64).share_memory_()
        self.barrier = multiprocessing.get_context("fork").Barrier(workers)

    def exchange(self, step, worker, parameters, control):
        buffer = self.buffers[step % 2]
        torch.cat([p.grad.reshape(-1) for p in parameters], out=buffer[worker])
        if worker == 0:
            self.control[step % 2] = torch.tensor(control, dtype=torch.float64)
        self.barrier.wait()
        put(buffer.mean(0), [p.grad for p in parameters])
        return self.control[step % 2].tolist()

    def share_start(self, worker, parameters):
        """Gives every worker the weights of worker 0."""
        start = self.buffers[0][0]
        if worker == 0:
            torch.cat([p.detach().reshape(-1) for p in parameters], out=start)
        self.barrier.wait()
        put(start, parameters)
        self.barrier.wait()


@torch.no_grad()
def put(values, tensors):
    """Spreads one long vector over tensors."""
    for tensor, part in zip(tensors, values.split([t.numel() for t in tensors])):
        tensor.copy_(part.view_as(tensor))


class Alone:
    """Stands in for Averager where one process does it all."""

    def exchange(self, step, worker, parameters, control):
        return control

    def share_start(self, worker, parameters):
        pass


def new_student(config):
    setting = config["student"]
    return Student(setting["dim"], setting["blocks"], setting["top"], config["teacher"]["map_dim"])


def load_weights(student, weights):
    """Loads what there is. Blocks and the map head that the checkpoint lacks stay at their start."""
    unexpected = student.load_state_dict(weights, strict=False).unexpected_keys
    if unexpected:
        raise SystemExit(f"the checkpoint has weights that the student lacks: {unexpected[:3]}")


def optimizers_for(student, config):
    """Muon for the convolutions, AdamW for the ends of the network and all vectors. The wide top is an end,
    since its matrix alone would cost Muon more than all others."""
    ends = {id(p) for layer in (student.stem[0], student.top, student.embed, student.map_head)
            for p in layer.parameters()}
    inner = [p for p in student.parameters() if p.ndim == 4 and id(p) not in ends]
    outer = [p for p in student.parameters() if p.ndim > 1 and id(p) in ends]
    vectors = [p for p in student.parameters() if p.ndim <= 1]
    decay = config["weight_decay"]
    return [Muon(inner, config["muon_learning_rate"], weight_decay=decay),
            torch.optim.AdamW([{"params": outer, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}],
                              lr=config["learning_rate"], fused=True)]


@torch.no_grad()
def move_average(average, student, decay):
    for kept, current in zip(average.state_dict().values(), student.state_dict().values()):
        if kept.dtype.is_floating_point:
            kept.lerp_(current, 1 - decay)


@torch.no_grad()
def validate(student, samples):
    answers = [(student(x), target) for x, target in samples.validation()]
    if sum(len(target) for _, target in answers) < 10:  # too few photos to have neighbors
        return math.nan, math.nan
    embeddings, wanted = zip(*answers)
    return targets.agreement(torch.cat(embeddings).float(), torch.cat(wanted))


def train(worker, workers, arguments, config, samples, averager, deadline, device):
    """One worker's run. Every worker holds the same weights at every step; worker 0 also writes."""
    setting, full, out = config["train"], config["preprocessing"]["size"], Path(arguments.out)
    grid, bfloat16 = config["teacher"]["grid"], device != "cpu" or torch.cpu._is_avx512_bf16_supported()
    torch.manual_seed(config["seed"])
    student = new_student(config).to(device, memory_format=torch.channels_last)
    if arguments.init and arguments.init.endswith(".onnx"):
        from unfold import load_exported  # needs onnx, which other training does not

        load_exported(student, arguments.init, *samples.calibration(CALIBRATION_VIEWS))
    elif arguments.init:
        load_weights(student, torch.load(arguments.init, weights_only=True)["average"])
    average, optimizers = copy.deepcopy(student).eval(), optimizers_for(student, setting)
    full_rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    schedule, step, seen, hours = Schedule(setting, deadline), 0, 0, 0.0
    if (out / "checkpoint.pt").exists():
        saved = torch.load(out / "checkpoint.pt", weights_only=True)
        student.load_state_dict(saved["student"])
        average.load_state_dict(saved["average"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, seen, hours, schedule.progress = (saved[key] for key in ("step", "samples", "hours", "progress"))
    torch.manual_seed(config["seed"] * 1000 + step + worker)  # other edits in each worker
    parameters, losses = list(student.parameters()), Losses(setting)
    averager.share_start(worker, parameters)
    basis = {name: torch.from_numpy(value) for name, value in samples.basis.items()}
    size, logged, seen_at_log = schedule.size(full), time.time(), seen

    def checkpoint():
        cosine, shared = validate(average, samples)
        seconds = max(time.time() - logged, 1)
        line = {"hours": round(hours, 3), "step": step, "samples": seen, "progress": round(schedule.progress, 4),
                "rate": round(schedule.rate(), 4), "size": size, "views": samples.count(),
                "per_second": round((seen - seen_at_log) / seconds), **losses.take_means(),
                "validation_cosine": round(cosine, 4), "neighbors_shared": round(shared, 4)}
        print(json.dumps(line), flush=True)
        with open(out / "curve.jsonl", "a") as curve:
            curve.write(json.dumps(line) + "\n")
        state = {"student": student.state_dict(), "average": average.state_dict(), "basis": basis,
                 "optimizers": [optimizer.state_dict() for optimizer in optimizers], "step": step, "samples": seen, "hours": hours,
                 "progress": schedule.progress}
        torch.save(state, out / "checkpoint.part")
        os.replace(out / "checkpoint.part", out / "checkpoint.pt")

    while schedule.progress < 1:
        x, wanted, maps = samples.batch(setting["batch"], size)
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=bfloat16):
            embedding, cells = student.with_map(x, grid)
        loss = losses(embedding.float(), cells.float(), wanted, maps, samples.bank(setting["bank"]))
        student.zero_grad(set_to_none=True)
        loss.backward()

        if worker == 0:
            hours += schedule.advance() / 3600
        control = [schedule.progress, schedule.rate(), schedule.size(full)]
        schedule.progress, rate, size = averager.exchange(step, worker, parameters, control)
        size = int(size)
        torch.nn.utils.clip_grad_norm_(parameters, 5.0)
        for optimizer, rates in zip(optimizers, full_rates):
            for group, full_rate in zip(optimizer.param_groups, rates):
                group["lr"] = rate * full_rate
            optimizer.step()
        step, seen = step + 1, seen + setting["batch"] * workers
        if worker == 0:
            move_average(average, student, min(setting["ema"], (1 + step) / (10 + step)))
            if time.time() - logged > MINUTES_BETWEEN_CHECKPOINTS * 60 or schedule.progress >= 1:
                checkpoint()
                logged, seen_at_log = time.time(), seen
    if worker == 0:
        torch.save({"average": average.state_dict(), "basis": basis, "samples": seen, "hours": hours},
                   out / "final.pt")
        print(f"done: {seen} samples, {hours:.2f} hours", flush=True)


def saved_basis(arguments):
    """The PCA basis that the weights we go on from were trained for, if there are any."""
    for path in (Path(arguments.out) / "checkpoint.pt", arguments.init):
        if path and not str(path).endswith(".onnx") and Path(path).exists():
            basis = torch.load(path, weights_only=True, map_location="cpu")["basis"]
            return {name: value.numpy() for name, value in basis.items()}
    return None


def cpu_worker(worker, workers, arguments, config, basis, averager, deadline):
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    samples = stored.StoredViews(arguments.views, config, basis, Preparation(config, "cpu"), worker, workers)
    train(worker, workers, arguments, config, samples, averager, deadline, "cpu")


def train_on_cpu(arguments, config, deadline):
    torch.set_num_threads(1)  # no thread pool may exist before the fork
    workers = config["train"]["workers"]
    basis = saved_basis(arguments) or stored.fit_basis(arguments.views, config["student"]["dim"])
    averager = Averager(workers, sum(p.numel() for p in new_student(config).parameters()))
    multiprocessing.start_processes(cpu_worker, (workers, arguments, config, basis, averager, deadline), workers,
                                    start_method="fork")


def train_on_gpu(arguments, config, deadline):
    import fresh  # needs onnx, which training on stored views does not

    config["train"] |= config["train"]["cuda"]
    samples = fresh.FreshViews(arguments.photos, arguments.teacher, arguments.exclude, config,
                               Preparation(config, arguments.device), arguments.device, saved_basis(arguments))
    train(0, 1, arguments, config, samples, Alone(), deadline, arguments.device)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--views", help="what prepare.py made (CPU)")
    parser.add_argument("--photos", help="folder of photos (fresh crops)")
    parser.add_argument("--teacher", help="ONNX teacher (fresh crops)")
    parser.add_argument("--exclude", nargs="*", default=[], help="folders of photos never to train on (fresh crops)")
    parser.add_argument("--device", default="cuda", help="for fresh crops")
    parser.add_argument("--init", help="exported encoder, or checkpoint of an earlier run, to start from")
    parser.add_argument("--config", default=Path(__file__).with_name("config.toml"))
    end = parser.add_mutually_exclusive_group(required=True)
    end.add_argument("--until", type=datetime.datetime.fromisoformat, help="local time at which to be done")
    end.add_argument("--minutes", type=float)
    arguments = parser.parse_args()
    if bool(arguments.views) == bool(arguments.photos and arguments.teacher):
        parser.error("give either --views, or --photos and --teacher")
    config = tomllib.loads(Path(arguments.config).read_text())
    Path(arguments.out).mkdir(parents=True, exist_ok=True)
    if arguments.init:
        config["train"] |= config["train"]["further"]
    deadline = arguments.until.timestamp() if arguments.until else time.time() + arguments.minutes * 60
    (train_on_cpu if arguments.views else train_on_gpu)(arguments, config, deadline)


if __name__ == "__main__":
    main()

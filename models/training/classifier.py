#!/usr/bin/env python3
"""What `answers.py` wrote in, the classifier of the built-in encoder and its words out.

    classifier.py --answers FILE.npz ... --labels LABELS.tsv --network OUT.onnx --table OUT.tsv.gz [--report OUT.tsv]

The encoder is too small to tell a thousand classes, but it tells many of the things that stand above them in WordNet. Which ones
is measured, on photos that were held out:

    seen    of a fifth of all photos, by a classifier that learnt from the rest
    unseen  of each source, by one that learnt from all others: pictures of another kind than any that it learnt from

A word is offered where, of the ten likeliest photos, .85 and more show it among `seen`, and .6 and more on the mean of the sources
among `unseen`, of which there are two at the least; each with ten photos at the least that show it. What a photo shows is the class in its path, where a folder has
the number of a synset (n02084071), else what the teacher is sure of: more than .5 that it does, or less than .15.

The offered words cut the thousand classes into groups, of which each word is a union; the classifier has one output a group. It is
one layer, learnt by the cross entropy to the teacher's answers, summed over each group (Adam; all by a seed). OUT.onnx holds it
with fp16 weights; OUT.tsv.gz has the words, as `scripts/make_wordnet_table.py` writes them, with groups for classes.
"""

import argparse
import csv
import gzip
import io
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "src" / "words" / "wordnet.tsv.gz"
CLASSES = 1000
SURE, SURELY_NOT = 0.5, 0.15
SEEN, UNSEEN, LEAST_SHOWING, LEAST_SOURCES = 0.85, 0.6, 10, 2
# A word whose classes are more than these says nothing of a photo; one with fewer than two is none of the broad ones.
FEWEST, MOST = 2, 700
# Another word's nearest kind of thing has at most so many classes: else it says nothing either.
NEAREST = 130
STEPS = {"epochs": 10, "rate": 0.1, "decay": 1e-6, "batch": 512}


class Words:
    """The words above the thousand classes, each with the classes of its everyday meaning."""

    def __init__(self, path):
        table, self.plurals, strangers = gzip.open(path, "rt").read().split("\n\n")
        rows = [line.split("\t") for line in table.splitlines()]
        self.gloss = [gloss for _, _, gloss, _ in rows]
        self.classes = [set(map(int, classes.split())) for _, classes, _, _ in rows]
        for number in reversed(range(len(rows))):
            for parent in rows[number][0].split():
                self.classes[int(parent)] |= self.classes[number]
        ranked = {}
        for number, (_, _, _, words) in enumerate(rows):
            for word in words.split("|"):
                name, rank = word.rsplit("=", 1)
                ranked.setdefault(name, []).append((int(rank), number))
        self.meaning = {}
        for name, meanings in ranked.items():
            meanings.sort()
            together = [number for rank, number in meanings if rank == 0] or [meanings[0][1]]
            self.meaning[name] = together[0], frozenset().union(*(self.classes[number] for number in together))
        self.strangers = [line.split("\t") for line in strangers.splitlines()]

    def broad(self):
        """Every set of classes that a word stands for."""
        return sorted({classes for _, classes in self.meaning.values() if FEWEST <= len(classes) <= MOST}, key=sorted)


def softmax(logits):
    logits = np.exp(logits - logits.max(1, keepdims=True))
    return logits / logits.sum(1, keepdims=True)


def with_one(embeddings):
    return np.c_[embeddings, np.ones(len(embeddings))].astype(np.float32)


def fit(photos, targets):
    """Adam on the cross entropy, with a rate that falls to zero."""
    rng, order = np.random.default_rng(0), np.arange(len(photos))
    weights = np.zeros((photos.shape[1], targets.shape[1]), np.float32)
    first, second, step = np.zeros_like(weights), np.zeros_like(weights), 0
    batch, steps = STEPS["batch"], STEPS["epochs"] * (len(photos) // STEPS["batch"])
    for _ in range(STEPS["epochs"]):
        rng.shuffle(order)
        for start in range(0, len(order) - batch + 1, batch):
            at = order[start:start + batch]
            gradient = photos[at].T @ (softmax(photos[at] @ weights) - targets[at]) / batch + STEPS["decay"] * weights
            first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient * gradient
            rate, step = STEPS["rate"] * (1 - step / steps), step + 1
            weights -= rate * first / (1 - 0.9 ** step) / (np.sqrt(second / (1 - 0.99 ** step)) + 1e-8)
    return weights


def groups_of(words):
    """By class, the number of its group: classes that belong to the same of these words."""
    keys = [tuple(number for number, classes in enumerate(words) if label in classes) for label in range(CLASSES)]
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    return np.array([numbers[key] for key in keys])


def summed(answers, groups):
    targets = np.zeros((len(answers), groups.max() + 1), np.float32)
    np.add.at(targets.T, groups, answers.T)
    return targets


def read_answers(files, labels):
    """Embeddings, the teacher's answers, source and class by path of all photos."""
    with open(labels, newline="") as rows:
        number = {row[1]: int(row[0]) for row in csv.reader(rows, delimiter="\t") if row[0].isdigit()}
    assert len(number) == CLASSES
    parts = [np.load(file) for file in files]
    together = {name: np.concatenate([part[name] for part in parts]) for name in ("embedding", "logits", "source", "path")}
    classes = [next((number[part] for part in path.split("/") if part in number), -1) for path in together["path"]]
    return together["embedding"], softmax(together["logits"].astype(np.float32)), together["source"], np.array(classes)


def precision(likely, shows):
    """P@10, and how many photos show it; photos of which it is not known do not count."""
    known = shows >= 0
    likely, shows = likely[known], shows[known]
    return float(shows[np.argsort(-likely, kind="stable")[:10]].mean()) if len(shows) else 0.0, int(shows.sum())


def measure(words, photos, answers, sources, classes):
    """By word and part of the photos, P@10 of a classifier that has not learnt from that part."""
    groups = groups_of(words)
    targets = summed(answers, groups)
    fifth = np.random.default_rng(1).random(len(photos)) < 0.2
    measured = {word: {} for word in words}
    for name, held in [("seen", fifth), *((f"unseen {source}", sources == source) for source in sorted(set(sources)))]:
        likely = softmax(photos[held] @ fit(photos[~held], targets[~held]))
        for word in words:
            columns = sorted(set(groups[list(word)]))
            sure = targets[held][:, columns].sum(1)
            shows = np.where(sure > SURE, 1, np.where(sure < SURELY_NOT, 0, -1))
            told = classes[held] >= 0
            shows[told] = np.isin(classes[held][told], list(word))
            value, count = precision(likely[:, columns].sum(1), shows)
            if count >= LEAST_SHOWING:
                measured[word][name] = value
    return measured


def unseen(measured):
    values = [value for name, value in measured.items() if name != "seen"]
    return sum(values) / len(values) if len(values) >= LEAST_SOURCES else 0.0


def holds(measured):
    return measured.get("seen", 0.0) >= SEEN - 1e-6 and unseen(measured) >= UNSEEN - 1e-6


def write_network(path, weights):
    """embedding [1, dim] -> labels [1, groups]"""
    dim, groups = weights.shape[0] - 1, weights.shape[1]
    half = numpy_helper.from_array(weights[:-1].T.astype(np.float16).copy(), "classifier.half")
    bias = numpy_helper.from_array(weights[-1].astype(np.float32).copy(), "classifier.bias")
    nodes = [
        helper.make_node("Cast", ["classifier.half"], ["classifier.weight"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["embedding", "classifier.weight", "classifier.bias"], ["labels"], transB=1),
    ]
    graph = helper.make_graph(nodes, "classifier", [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, dim])],
                              [helper.make_tensor_value_info("labels", TensorProto.FLOAT, [1, groups])], [half, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    Path(path).write_bytes(model.SerializeToString())


def write_table(path, words, offered, groups):
    """The offered words, each meaning with its groups, the more general ones first; plurals; all other words, with the nearest."""
    everything = words.meaning["entity"]
    meanings = {everything[0]: (frozenset(range(CLASSES)), ["entity"])}
    for name, (number, classes) in words.meaning.items():
        if classes in offered:
            meanings.setdefault(number, (classes, []))[1].append(name)
    order = sorted(meanings, key=lambda number: (-len(meanings[number][0]), number))
    lines, offered_words = [], set()
    for number in order:
        classes, names = meanings[number]
        members = sorted(set(groups[list(classes)].tolist()))
        lines.append(f"\t{' '.join(map(str, members))}\t{words.gloss[number]}\t{'|'.join(f'{name}=1' for name in names)}")
        offered_words |= {name.lower() for name in names}

    def nearest(classes):
        above = [line for line, number in enumerate(order) if classes <= meanings[number][0] and len(meanings[number][0]) <= NEAREST]
        return above[-1] if above else None

    strangers = {}
    for name, (_, classes) in words.meaning.items():
        if name.lower() not in offered_words:
            strangers[name.lower()] = nearest(classes)
    for name, number in words.strangers:
        strangers.setdefault(name, nearest(frozenset(words.classes[int(number)])))
    plurals = [line for line in words.plurals.splitlines() if line.split("\t")[1] in offered_words]
    others = [f"{name}\t{line}" for name, line in sorted(strangers.items()) if line is not None]
    text = "\n".join(lines) + "\n\n" + "\n".join(plurals) + "\n\n" + "\n".join(others) + "\n"
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as file:
        file.write(text.encode())
    Path(path).write_bytes(packed.getvalue())
    return len(offered_words)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", nargs="+", required=True)
    parser.add_argument("--labels", required=True, help="index and synset number of each class, in the order of the classifiers")
    parser.add_argument("--network", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--report", type=Path, help="where to write what was measured of each word")
    arguments = parser.parse_args()
    words = Words(TABLE)
    embeddings, answers, sources, classes = read_answers(arguments.answers, arguments.labels)
    photos, names = with_one(embeddings), {}
    for name, (_, members) in words.meaning.items():
        names.setdefault(members, []).append(name)
    # Those that hold are measured once more among themselves: fewer groups are other groups.
    measured, offered = {}, words.broad()
    for _ in range(2):
        measured = measure(offered, photos, answers, sources, classes)
        offered = [word for word in offered if holds(measured[word])]
    groups = groups_of(offered)
    write_network(arguments.network, fit(photos, summed(answers, groups)))
    count = write_table(arguments.table, words, set(offered), groups)
    print(f"{len(photos)} photos, {len(offered)} meanings, {count} words, {groups.max() + 1} groups")
    rows = [(", ".join(names[word][:3]), len(word), measured[word]["seen"], unseen(measured[word])) for word in offered]
    rows.sort(key=lambda row: (-row[1], row[0]))
    lines = ["words\tclasses\tseen\tunseen", *(f"{name}\t{size}\t{seen:.2f}\t{other:.2f}" for name, size, seen, other in rows)]
    if arguments.report:
        arguments.report.write_text("\n".join(lines) + "\n")
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()

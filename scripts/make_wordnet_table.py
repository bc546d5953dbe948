#!/usr/bin/env python3
"""Makes src/words/wordnet.tsv.gz: the words that stand above the 1,000 classes of ImageNet in WordNet 3.0.

    make_wordnet_table.py WORDNET LABELS.tsv OUT.tsv.gz

WORDNET is the folder with data.noun, index.noun and noun.exc (Debian's package wordnet-base puts it to
/usr/share/wordnet). LABELS.tsv has a line a class, in the order of the classifiers: index, wnid (`n` and the offset of the
synset), name. The table has a line for each class and each of its hypernyms, the more general ones first:

    numbers of the hypernyms' lines   classes or nothing   gloss   word=sense|word=sense|...

where `sense` is the rank of this meaning among the word's meanings, the everyday one first; those of rank 0 are meant together.
Then, behind an empty line, a line
for each irregular plural of these words: plural, singular. Behind one more empty line, a line for each short word that no class
stands for, with the number of the line that comes nearest: a giraffe is a ruminant. The same input gives the same bytes.
"""

import argparse
import csv
import gzip
import io
from pathlib import Path

HYPERNYMS = {"@", "@i"}
# Meanings that everyday speech puts before WordNet's first: whoever asks for a cat wants no lynx.
EVERYDAY = {"cat": "02121808"}
# The same, by their ranks among the word's meanings; several are meant together: a table lamp is as much a lamp as a candle.
MEANT = {
    "amphibian": (3,), "bike": (2, 1), "chest": (2, 4), "coach": (5, 3), "food": (2, 1), "footwear": (2, 1), "gown": (1, 5),
    "helmet": (2, 1), "horn": (5, 10), "lamp": (2, 1), "light": (2, 14), "mask": (1, 4), "missile": (1, 2),
    "partridge": (3, 5), "plant": (2,), "plate": (8,), "pot": (1, 4), "projectile": (1, 2), "robe": (1, 2),
    "screen": (3, 2, 5), "shield": (2,), "sign": (2, 3), "table": (3, 2), "tub": (2, 1), "wagon": (1, 2, 5),
}
# Words whose usual meaning no class has; whoever asks for an ear wants no corn.
MISLEADING = set("""
    bank bond cause circle comfort control course defense drop ear fare figure game good hack head hip key killer kite mail match
    mole mount part piece point post press round rule seat shell site spot spring support toy trump turner unit weight
    whole wind wood work
""".split())
# Classes whose photos show another thing than their synset means: cups, not punch; sunglasses, not burning glasses; swimming
# costumes, not tights.
SHOWN = {"07930864": "03147509", "04355933": "04356056", "03710637": "03710721"}
# A word's nearest meaning is at most so many steps above it, and stands for at most so many classes: else it says nothing.
STEPS, CLASSES = 2, 40
# Longer words are learned ones.
LETTERS = 12
# So long may a gloss be: it is to tell one meaning from another.
GLOSS = 70


def read_synsets(path):
    synsets = {}
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith("  "):
            continue
        data, _, gloss = line.partition(" | ")
        fields = data.split()
        words = [fields[4 + 2 * number] for number in range(int(fields[3], 16))]
        rest = fields[4 + 2 * len(words):]
        pointers = [rest[1 + 4 * number:5 + 4 * number] for number in range(int(rest[0]))]
        parents = [offset for symbol, offset, kind, _ in pointers if symbol in HYPERNYMS and kind == "n"]
        synsets[fields[0]] = (words, parents, gloss)
    return synsets


def read_senses(path):
    """The synsets of each word, the most frequent first."""
    senses = {}
    for line in path.read_text(encoding="ascii").splitlines():
        if not line.startswith("  "):
            fields = line.split()
            senses[fields[0]] = fields[-int(fields[2]):]
    return senses


def nearest(synset, synsets, below):
    """The nearest synset above that stands for some classes and not for too many."""
    level = [synset]
    for _ in range(STEPS):
        level = [parent for offset in level for parent in synsets[offset][1]]
        for parent in level:
            if 1 < len(below.get(parent, ())) <= CLASSES:
                return parent
    return None


def short(gloss):
    """The definition, without examples, cut at a word."""
    gloss = gloss.split('; "')[0].strip()
    if len(gloss) > GLOSS:
        gloss = gloss[:GLOSS].rsplit(" ", 1)[0].rstrip(",;:( ") + " ..."
    return gloss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    synsets = read_synsets(options.wordnet / "data.noun")
    senses = read_senses(options.wordnet / "index.noun")
    with options.labels.open(newline="") as file:
        rows = [(row["wnid"][1:], int(row["index"])) for row in csv.DictReader(file, delimiter="\t")]
    assert [index for _, index in rows] == list(range(1000)) and all(offset in synsets for offset, _ in rows)
    classes = {}
    for offset, index in rows:
        classes.setdefault(SHOWN.get(offset, offset), []).append(index)

    # Parents first, so that a line only refers to earlier ones.
    order = {}

    def add(offset):
        if offset not in order:
            for parent in synsets[offset][1]:
                add(parent)
            order[offset] = len(order)

    for offset in sorted(classes):
        add(offset)
    lines, vocabulary = [], set()
    for offset in order:
        words, parents, gloss = synsets[offset]
        ranked = []
        for word in words:
            # Each meaning keeps a word.
            if word.lower() in MISLEADING and not MISLEADING.issuperset(map(str.lower, words)):
                continue
            rank = senses[word.lower()].index(offset) + 1
            if rank in MEANT.get(word.lower(), ()):
                rank = 0
            ranked.append(f"{word.replace('_', ' ')}={rank}")
            vocabulary.add(word.lower())
        ranked.extend(f"{word}=0" for word, everyday in EVERYDAY.items() if everyday == offset)
        parents = " ".join(str(order[parent]) for parent in parents)
        lines.append(f"{parents}\t{' '.join(map(str, classes.get(offset, [])))}\t{short(gloss)}\t{'|'.join(ranked)}")
    lines.append("")
    for line in (options.wordnet / "noun.exc").read_text(encoding="ascii").splitlines():
        plural, *singulars = line.split()
        lines.extend(f"{plural.replace('_', ' ')}\t{word.replace('_', ' ')}" for word in singulars if word in vocabulary)

    below = {}

    def add_below(offset, index):
        below.setdefault(offset, set()).add(index)
        for parent in synsets[offset][1]:
            add_below(parent, index)

    for offset, indexes in classes.items():
        for index in indexes:
            add_below(offset, index)
    lines.append("")
    for word, meanings in senses.items():
        if word.isalpha() and len(word) <= LETTERS and word not in vocabulary:
            found = nearest(meanings[0], synsets, below)
            if found:
                lines.append(f"{word}\t{order[found]}")

    with options.out.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        io.TextIOWrapper(packed, "ascii", newline="\n").write("\n".join(lines) + "\n")
    print(f"{len(order)} synsets, {len(vocabulary)} words, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()

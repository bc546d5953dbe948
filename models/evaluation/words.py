#!/usr/bin/env python3
"""Asks a running daemon for photos by words, and prints how right the answers are.

    resembled --model efficientnet_lite0 ../shared/photos/classes &
    models/evaluation/words.py ../shared/photos/classes

Each folder of the labeled photos is a class. For each word that is true of one or more of them:

    P@10      of the ten likeliest photos, the share of folders of which the word is true; what is missing to ten is wrong
    shown     of the photos that the daemon says show it, the same share, and how many of those that should be shown are
    unknown   of everyday words that no class of ImageNet stands for, and of some that one does, the share that is refused

Nothing but Python and the client is needed; --resemble says where that is.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

# The folders' own names, where people would use them, and other names of the same.
NAMES = {
    "airplanes": ["airplane", "plane", "airliner"], "bus": ["bus"], "butterfly": ["butterfly"],
    "camera": ["camera"], "car": ["car", "automobile"], "cassette_player": ["cassette player"], "cat": ["cat"],
    "chain_saw": ["chain saw", "chainsaw"], "chair": ["chair"], "church": ["church"], "cougar_face": ["cougar", "puma"],
    "crab": ["crab"], "crocodile": ["crocodile"], "cup": ["cup"], "dalmatian": ["dalmatian"],
    "dolphin": ["dolphin"], "dragonfly": ["dragonfly"], "electric_guitar": ["electric guitar", "guitar"],
    "elephant": ["elephant"], "flamingo": ["flamingo"], "french_horn": ["french horn", "horn"],
    "garbage_truck": ["garbage truck"], "gas_pump": ["gas pump", "petrol pump"], "golf_ball": ["golf ball"],
    "grand_piano": ["grand piano", "piano"], "hawksbill": ["turtle"], "ibis": ["ibis"], "kangaroo": ["kangaroo"],
    "lamp": ["lamp"], "laptop": ["laptop", "notebook"], "leopards": ["leopard"], "llama": ["llama"],
    "lobster": ["lobster"], "motorbikes": ["motorcycle", "bike"], "nautilus": ["nautilus"],
    "panda": ["panda", "giant panda"], "parachute": ["parachute"], "pizza": ["pizza"],
    "saxophone": ["saxophone", "sax"], "scene_mountain": ["mountain"], "scorpion": ["scorpion"],
    "starfish": ["starfish"], "tench": ["tench", "fish"], "train": ["train"], "umbrella": ["umbrella"],
    "watch": ["watch"], "wheelchair": ["wheelchair"], "clothes_dress": ["dress"],
    "clothes_t-shirt": ["t-shirt", "shirt"], "ketch": ["sailboat"], "hedgehog": ["hedgehog"],
}

# What several folders have in common.
BROADER = {
    "animal": "butterfly cat cougar_face crab crocodile dalmatian dog dolphin dragonfly elephant emu flamingo hawksbill "
    "hedgehog ibis kangaroo leopards llama lobster nautilus okapi panda pigeon raccoon rhino scorpion sea_horse starfish tench",
    "mammal": "cat cougar_face dalmatian dog dolphin elephant hedgehog kangaroo leopards llama okapi panda raccoon rhino",
    "bird": "emu flamingo ibis pigeon",
    "reptile": "crocodile hawksbill",
    "insect": "butterfly dragonfly",
    "dog": "dog dalmatian",
    "vehicle": "airplanes bus car ferry garbage_truck helicopter ketch motorbikes train wheelchair",
    "aircraft": "airplanes helicopter",
    "boat": "ferry ketch",
    "ship": "ferry ketch",
    "musical instrument": "electric_guitar french_horn grand_piano saxophone",
    "furniture": "chair lamp",
    "clothing": "clothes_dress clothes_hat clothes_outwear clothes_pants clothes_shoes clothes_skirt clothes_t-shirt",
    "building": "church scene_buildings scene_street",
    "food": "pizza",
    "flower": "lotus sunflower",
    "hat": "clothes_hat",
    "shoe": "clothes_shoes",
    "coat": "clothes_outwear",
    "trousers": "clothes_pants",
    "feline": "cat cougar_face leopards",
    "crustacean": "crab lobster",
    "keyboard instrument": "grand_piano",
    "wind instrument": "french_horn saxophone",
    "computer": "laptop",
    "truck": "garbage_truck",
    "timepiece": "watch",
}

# What people photograph, and ImageNet's 1,000 classes do not name.
WITHOUT_CLASS = """
baby boy girl woman child grandmother family crowd wedding bride birthday selfie portrait smile beard tattoo kiss hug dancer
runner surfer swimmer soldier policeman firefighter nurse teacher student chef farmer clown santa angel party concert graduation
christmas easter halloween carnival fireworks parade picnic vacation camping hiking marathon sunset sunrise sky cloud rain rainbow
snow storm lightning fog moon night river waterfall forest jungle meadow field desert island pond swamp glacier canyon cave autumn
tree grass leaf rose tulip sunflower lotus orchid cactus bamboo palm moss cow giraffe deer donkey pigeon dove crow seagull bat rat
sparrow woodpecker raven swallow shrimp octopus squid moth mosquito wasp caterpillar helicopter rocket elevator escalator ferry
kayak tunnel highway crossroads street road railway airport skyscraper windmill hotel hospital school museum stadium kitchen
bathroom bedroom garden balcony window chimney office attic playground zoo statue skyline city village cake cheese beer salad
pasta rice sushi steak egg chocolate cookie cherry grape tomato carrot onion garlic breakfast dinner barbecue newspaper flag gift
toy doll skateboard snowman drawing jewelry crown coin map painting graffiti poster robot shadow reflection fire smoke
harbour landscape nature horizon wave surf sand dune cliffside valleyside blossom petal root bark seed twin teenager neighbour
passport luggage ticket calendar diary letter homework recipe garage driveway fence gate backyard rooftop staircase hallway
"""

# What people photograph, and a class is, or is a kind of.
WITH_CLASS = """
dog cat horse bird fish elephant lion tiger bear wolf fox rabbit hamster squirrel monkey gorilla zebra camel sheep pig ox bison goose
duck swan owl eagle penguin peacock parrot flamingo stork heron ostrich cock hen turtle lizard snake frog spider scorpion crab lobster
snail starfish jellyfish shark whale dolphin seal bee ant fly butterfly dragonfly grasshopper beetle car bus truck train bicycle
motorcycle scooter tractor ambulance taxi airplane balloon ship sailboat canoe submarine castle church mosque palace monastery barn
bridge dam lighthouse fountain volcano mountain valley shore lakeside coral geyser banana orange lemon strawberry pineapple apple
pizza hamburger hotdog bread soup icecream cabbage broccoli mushroom cucumber coffee wine piano guitar violin cello drum flute trombone
saxophone accordion camera computer laptop keyboard monitor printer television radio telephone watch clock lamp chair table sofa bed
desk bookcase wardrobe stove refrigerator toaster microwave dishwasher cup plate bowl bottle teapot spoon knife umbrella bag purse
wallet hat sunglasses shoe sandal boot sock shirt dress skirt suit coat glove tie bikini kimono ball soccer tennis basketball golf
"""


class Daemon:
    def __init__(self, resemble):
        self.resemble = resemble

    def ask(self, *args):
        ran = subprocess.run([self.resemble, *args, "--json"], capture_output=True, text=True)
        return ran.returncode, [json.loads(line) for line in ran.stdout.splitlines()], ran.stderr

    def knows(self, word):
        code, _, told = self.ask("search", word, "--text", "-k", "1")
        if code == 2 and "is not among the" not in told:
            raise SystemExit(told)
        return code != 2

    def folders(self, word, *args):
        return [Path(row["path"]).parent.name for row in self.ask("search", word, "--text", *args)[1]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="the folder with a folder a class, which the daemon has indexed")
    parser.add_argument("--resemble", default="resemble")
    options = parser.parse_args()
    daemon = Daemon(options.resemble)
    while "soon be known" in subprocess.run([options.resemble, "search", "entity", "-k", "1"], capture_output=True, text=True).stderr:
        time.sleep(1)
    sizes = {folder.name: sum(1 for _ in folder.iterdir()) for folder in options.photos.iterdir() if folder.is_dir()}
    print(json.loads(subprocess.run([options.resemble, "status", "--json"], capture_output=True, text=True).stdout)["model"])

    truths = {word: [folder] for folder, words in NAMES.items() for word in words}
    for title, words in [("names", truths), ("broader", {word: folders.split() for word, folders in BROADER.items()})]:
        at_ten, right, shown, meant = [], 0, 0, 0
        for word, folders in words.items():
            if not daemon.knows(word):
                print(f"  {word:22} is no word of this network")
                continue
            ten = daemon.folders(word, "--max-distance", "1", "-k", "10")
            precision = sum(folder in folders for folder in ten) / 10
            found = daemon.folders(word)
            good = sum(folder in folders for folder in found)
            at_ten.append(precision)
            right, shown, meant = right + good, shown + len(found), meant + sum(sizes.get(folder, 0) for folder in folders)
            others = sorted(set(ten) - set(folders), key=ten.count, reverse=True)
            print(f"  {word:22} P@10 {precision:.1f}  {good:3} of {len(found):3} shown  {' '.join(others)}")
        print(f"{title}: {len(at_ten)} words, P@10 mean {statistics.mean(at_ten):.3f}, median {statistics.median(at_ten):.2f}; "
              f"shown: {right / shown:.3f} right, {right / meant:.3f} of what should be")

    for title, text in [("without a class", WITHOUT_CLASS), ("with a class", WITH_CLASS)]:
        words = text.split()
        known = [word for word in words if daemon.knows(word)]
        odd = known if title == "without a class" else [word for word in words if word not in known]
        print(f"everyday words {title}: {len(words)}, unknown {1 - len(known) / len(words):.3f}; the others: {' '.join(odd)}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Writes the licences of everything that is built into resembled: one text file, each text once.

    scripts/licences.py [FILE]

Asks `cargo metadata` for what both executables are made of on Linux, tests and build tools left out, and takes the licence files
of each package as they were published. Fails where a package has none and its licence is not one of those whose text another
package brings.
"""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]
NAMES = re.compile(r"(?i)^(licen[cs]e|copying|copyright|notice|unlicense|third[-_ ]?party)")
# By what the texts of usual licences are known, for packages that only name theirs.
USUAL = {
    "Apache-2.0": "Version 2.0, January 2004",
    "MIT": "Permission is hereby granted, free of charge",
    "BSD-3-Clause": "Neither the name of",
    "BSD-2-Clause": "Redistributions in binary form must reproduce",
    "Zlib": "Altered source versions must be plainly marked",
    "ISC": "Permission to use, copy, modify, and",
    "CC0-1.0": "CC0 1.0 Universal",
    "Unicode-3.0": "UNICODE LICENSE V3",
    "Unlicense": "This is free and unencumbered software",
}


def metadata(target):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def built_in():
    """The packages that both executables are linked of, on any target."""
    found = {}
    for target in TARGETS:
        graph = metadata(target)
        packages = {package["id"]: package for package in graph["packages"]}
        nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
        ours = set(graph["workspace_members"])
        waiting, seen = list(ours), set(ours)
        while waiting:
            for dep in nodes[waiting.pop()]["deps"]:
                is_linked = any(kind["kind"] is None for kind in dep["dep_kinds"])
                is_macro = any("proc-macro" in made["kind"] for made in packages[dep["pkg"]]["targets"])
                if is_linked and not is_macro and dep["pkg"] not in seen:
                    seen.add(dep["pkg"])
                    waiting.append(dep["pkg"])
        found.update({id: packages[id] for id in seen - ours})
    return sorted(found.values(), key=lambda package: (package["name"], package["version"]))


def texts(package):
    folder = Path(package["manifest_path"]).parent
    # C that a package brings has its own.
    inside = [*folder.iterdir(), *folder.glob("vendor/*")]
    files = [path for path in inside if path.is_file() and NAMES.match(path.name)]
    if package["license_file"]:
        files.append(folder / package["license_file"])
    return {path.read_text(errors="replace").strip() for path in files}


def main():
    packages = built_in()
    by_text, without = {}, []
    for package in packages:
        found = texts(package)
        for text in found:
            by_text.setdefault(text, []).append(package)
        if not found:
            without.append(package)
    known = {name for name, sign in USUAL.items() if any(sign in text for text in by_text)}
    for package in without:
        named = set(re.findall(r"[A-Za-z0-9.-]+", package["license"] or "")) & known
        if not named:
            sys.exit(f"licences: {package['name']} {package['version']} has no licence file, and names {package['license']}")
    lines = [
        "resembled is made with the packages below, each under the licence that stands beside it. Their texts follow, each once.",
        "The JPEG decoder is mozjpeg: this software is based in part on the work of the Independent JPEG Group.",
        "",
    ]
    for package in packages:
        authors = ", ".join(re.sub(r"\s*<[^>]*>", "", author) for author in package["authors"])
        note = f"; no licence file of its own; by {authors or 'its authors'}" if package in without else ""
        lines.append(f"{package['name']} {package['version']}: {package['license'] or 'see its text'}{note}")
    for text in sorted(by_text, key=lambda text: hashlib.sha256(text.encode()).hexdigest()):
        users = ", ".join(f"{package['name']} {package['version']}" for package in by_text[text])
        lines += ["", "=" * 100, users, "=" * 100, "", text]
    out = "\n".join(lines) + "\n"
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(out)
    else:
        sys.stdout.write(out)
    print(f"licences: {len(packages)} packages, {len(by_text)} texts, {len(without)} without a file of their own", file=sys.stderr)


main()

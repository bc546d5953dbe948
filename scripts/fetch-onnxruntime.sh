#!/bin/sh
# Puts ONNX Runtime's library where resembled looks for it: $XDG_DATA_HOME/resembled, by default
# ~/.local/share/resembled. It is the library out of the wheel on PyPI; nothing is installed for Python, and root is
# not needed. Without it resembled computes with tract, which takes about twice as long for a photo.
set -eu

version=1.32.0
case $(uname -m) in
x86_64) sha256=99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8 ;;
aarch64) sha256=e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054 ;;
*)
    echo "fetch-onnxruntime: there is no wheel for $(uname -m); resembled computes with tract there" >&2
    exit 1
    ;;
esac

data=${XDG_DATA_HOME:-}
target=${data:-$HOME/.local/share}/resembled
library=libonnxruntime.so.$version
if [ -e "$target/$library" ]; then
    echo "$target/$library is there already"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The library does not depend on Python's version, so one wheel of each architecture is pinned.
echo "onnxruntime==$version --hash=sha256:$sha256" >"$work/requirements.txt"
python3 -m pip download --quiet --no-deps --require-hashes --only-binary :all: \
    --implementation cp --python-version 3.12 --abi cp312 --platform "manylinux_2_28_$(uname -m)" \
    --dest "$work" --requirement "$work/requirements.txt"
python3 -m zipfile -e "$work"/onnxruntime-*.whl "$work/wheel"

mkdir -p "$target"
# In two steps, so that the name appears with the whole library behind it.
cp "$work/wheel/onnxruntime/capi/$library" "$target/onnxruntime.part"
mv "$target/onnxruntime.part" "$target/$library"
cp "$work/wheel/onnxruntime/LICENSE" "$target/onnxruntime-LICENSE"
echo "$target/$library is there now (ONNX Runtime $version, MIT); restart resembled to use it"

#!/bin/sh
# Photos to builtin.onnx on a CPU: run.sh PHOTOS TEACHER.onnx OUT MINUTES [EXCLUDED_PHOTOS]
# Views are made while training runs, so that no core waits for the other step.
set -eu
here=$(dirname "$0")
photos=$1 teacher=$2 out=$3 minutes=$4
shift 4
python=${PYTHON:-python3}
export OMP_NUM_THREADS=1
mkdir -p "$out"

"$python" "$here/prepare.py" --photos "$photos" --teacher "$teacher" --out "$out/views" ${1:+--exclude "$1"} &
until [ "$(ls "$out/views" 2>/dev/null | grep -c '^shard-')" -ge 16 ]; do
    kill -0 $! 2>/dev/null || break
    sleep 5
done
"$python" "$here/train.py" --views "$out/views" --out "$out/run" --minutes "$minutes"
kill $! 2>/dev/null || true
"$python" "$here/export.py" "$out/run/final.pt" --views "$out/views" --out "$out"

#!/bin/bash
# Everything that waits for a GPU, in one command: benchmarks/gpu/run.sh OUT [options of day.py]; see README.md.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$here")")
python=${PYTHON:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export PYTHONUNBUFFERED=1

install() {
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check \
    --target "$place/$1" "$here/carried/$1"/*.whl
}
path=$root
if [ -d "$here/carried/wheels" ]; then install wheels && path=$root:$place/wheels; fi
# For the part with RecBole's own data set.
if [ -d "$here/carried/stock" ]; then install stock && export GPU_DAY_STOCK=$place/stock; fi
if [ -f "$here/carried/data.tar.gz" ]; then
  mkdir "$place/data" && tar -C "$place/data" -xzf "$here/carried/data.tar.gz" && export GPU_DAY_DATA=$place/data
fi
export PYTHONPATH=$path${PYTHONPATH:+:$PYTHONPATH}
"$python" "$here/day.py" "$@"

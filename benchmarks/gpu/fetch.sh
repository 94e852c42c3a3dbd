#!/bin/bash
# Fetches what run.sh needs on a machine without a network into carried/: wheels, and prepared data sets.
#   benchmarks/gpu/fetch.sh [folder of data sets]   default: dataset_atomic
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
data=$(cd "${1:-dataset_atomic}" && pwd)
carried=$here/carried
version=${PYTHON_VERSION:-3.12}
rm -rf "$carried"
mkdir -p "$carried"

# To a folder, for the machine's Python and not this one's; one version of each, without what they ask for.
fetch() {
  "${PYTHON:-python3}" -m pip download -q --no-deps --only-binary=:all: --python-version "$version" --implementation cp \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d "$carried/$1" "${@:2}"
}
fetch wheels recbole==1.2.1 colorlog==6.12.0 texttable==1.7.2 platformdirs==4.14.8
fetch stock pandas==2.3.3 pytz==2026.6
# Kept kernels to measure against. Without them the measurement has two rows less.
for kernels in cut-cross-entropy==25.1.1 liger-kernel==0.8.5; do
  fetch wheels "$kernels" || echo "left out: $kernels" >&2
done

names=()
for name in tmall diginetica nowplaying yoochoose-100k; do
  if [ -d "$data/$name" ]; then names+=("$name"); else echo "left out: $name is not in $data" >&2; fi
done
tar -C "$data" -czf "$carried/data.tar.gz" "${names[@]}"
du -sh "$carried"

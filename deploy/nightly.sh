#!/bin/sh
# Train on a click log, pack the model, and let a server that watches FOLDER/model take it:
#   nightly.sh LOG FOLDER MODEL [--KEY=VALUE ...]        keys of the training, such as --epochs=10
set -eu
log=$1 folder=$2 model=$3
shift 3
night=$(date -u +%Y%m%dT%H%M%S)
mkdir -p "$folder/bundles"
recbole-tme prepare "$log" --name=shop --out="$folder/data" --overwrite
recbole-tme run --model="$model" --dataset=shop --data_path="$folder/data" --run_dir="$folder/runs/$night" "$@"
recbole-tme bundle "$folder"/runs/"$night"/shop/*/* --out="$folder/bundles/$night"
ln -s "bundles/$night" "$folder/.model.$night"
mv -T "$folder/.model.$night" "$folder/model"
find "$folder/bundles" "$folder/runs" -mindepth 1 -maxdepth 1 -mtime +7 -exec rm -r {} +

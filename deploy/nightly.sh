#!/bin/sh
# nightly.sh LOG FOLDER MODEL [UPDATE OPTIONS]: carry last night's model over to a log, pack it, let a server take it.
set -eu
log=$1 folder=$2 model=$3 night=$(date -u +%Y%m%dT%H%M%S) && shift 3
if [ ! -e "$folder/current" ]; then
  recbole-tme prepare "$log" --name=shop --out="$folder/data" --min-support=1 --overwrite
  recbole-tme run --model="$model" --dataset=shop --data_path="$folder/data" --run_dir="$folder/runs"
  ln -s "$(cd "$folder" && ls -d runs/shop/*/* | tail -n 1)" "$folder/current"
else
  recbole-tme update "$folder/current" "$log" "$@"
fi
recbole-tme bundle "$folder/current" --out="$folder/bundles/$night"
ln -s "bundles/$night" "$folder/.model.$night" && mv -T "$folder/.model.$night" "$folder/model"
find "$folder/bundles" "$folder"/runs/*/* -mindepth 1 -maxdepth 1 -mtime +7 \
  ! -samefile "$folder/current/" -exec rm -r {} +

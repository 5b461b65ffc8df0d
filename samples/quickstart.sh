#!/usr/bin/env bash
# The main job on the shipped sample: score, evaluate, quota, select, train. Makes .venv and installs
# dprune on the first run; a second run starts at once. What it makes is in samples/quickstart/.
set -euo pipefail
cd "$(dirname "$0")/.."
source samples/venv.sh ""

sample=samples/cifar10 out=samples/quickstart
mkdir -p "$out"
say() { printf '\n$ %s\n' "$*"; "$@"; }

say dprune score $sample/train -m el2n -m aum --runs 1 --epochs 20 --save-model $out/query \
    -o $out/scores.parquet --force
say dprune evaluate $out/query $sample/val -o $out/val.parquet --force
say dprune quota $out/scores.parquet --keep 0.5 --method drop --val $out/val.parquet \
    --min-per-class 10 -o $out/quotas.parquet --quotas $out/quotas.csv --force
say dprune select $out/quotas.parquet --by random --shards $out/kept -o $out/kept.parquet --force
say dprune train $out/kept -o $out/final --epochs 20 --force
say dprune evaluate $out/final $sample/test

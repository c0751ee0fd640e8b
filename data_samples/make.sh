#!/usr/bin/env bash
# Makes everything in this folder again, with the commands that README.md explains.
# Takes about 17 minutes on two CPU cores, nearly all of it training the model.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PATH=$here/../.venv/bin:$PATH

cd "$here"
rm -rf raw_pairs benchmark cc3m_sample.tsv toy_model
align-edu world raw_pairs --pairs 300 --seed 1 --tsv cc3m_sample.tsv
align-edu world benchmark --pairs 200 --seed 2 --benchmark

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cp -r "$here/benchmark" .
align-edu demo --out demo --pairs 150000 --minutes "${MINUTES:-11}"
mkdir "$here/toy_model"
cp -r demo/run/config.json demo/run/tokenizer.json demo/run/model.safetensors \
    demo/run/metrics.jsonl demo/results.json "$here/toy_model"
align-edu evaluate "$here/toy_model" --benchmark benchmark
align-edu evaluate "$here/toy_model" --task arithmetic

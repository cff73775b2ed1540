#!/bin/sh
# Fetch pick and place: one policy from 512 episodes of a noisy teacher, with the default settings; 100 episodes by Gymnasium's own success.
set -e
mkdir -p runs/results && cd runs/results
seed=${SEED:-0} kind=../../examples/fetch_world.py:fetch
ludus worlds install $kind
ludus collect fetch-$seed world.name=$kind -n 512 --seed $seed
ludus train fetch-$seed-pac world.name=$kind --data fetch-$seed --seed $seed
ludus eval fetch-$seed-pac --skills "bring cube to goal" --temperature 0 0.333 --episodes 100 --json fetch-$seed.json

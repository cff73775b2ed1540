#!/bin/sh
# Three tasks of Meta-World (rewards v2), each from 512 episodes of its noisy expert, with the default settings.
set -e
mkdir -p runs/results && cd runs/results
seed=${SEED:-0}
for task in drawer button door; do
  kind=../../examples/metaworld_world.py:$task
  ludus worlds install $kind
  ludus collect metaworld-$task-$seed world.name=$kind -n 512 --seed $seed
  ludus train metaworld-$task-$seed-pac world.name=$kind --data metaworld-$task-$seed --seed $seed
  ludus eval metaworld-$task-$seed-pac --episodes 100 --json metaworld-$task-$seed.json
done

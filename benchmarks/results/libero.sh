#!/bin/sh
# LIBERO-PRO's object suites: one policy from a noisy scripted teacher in LIBERO's own scenes, measured at the 50 official starts of every task.
set -e
mkdir -p runs/results && cd runs/results
seed=${SEED:-0} kind=../../examples/libero.py:libero
world="world.name=$kind world.threads=1"
ludus worlds install $kind
ludus collect libero-$seed $world -n 512 --seed $seed
ludus train libero-$seed-first $world --data libero-$seed --seed $seed training.evaluation_episodes=0
ludus train libero-$seed-pac $world --data libero-$seed --init libero-$seed-first --seed $seed training.evaluation_episodes=0 training.updates=4000
for suite in object object_swap object_task; do
  ludus eval libero-$seed-pac world.options.suite=libero_$suite world.options.starts=official --episodes 50 --json libero-$seed-$suite.json
done

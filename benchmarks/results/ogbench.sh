#!/bin/sh
# OGBench's single cube: 200 episodes of play by their oracle, their five evaluation tasks, 10 episodes each.
set -e
mkdir -p runs/results && cd runs/results
cubes=${CUBES:-single}
world="world.name=ogbench world.variant=$cubes world.n_envs=50"
for seed in ${SEEDS:-0 1}; do
  ludus collect og-$cubes$seed $world --actor play --episodes 200 --seed $seed
  # their oracle never fails on purpose: with few bad actions to learn from, cloning has to weigh more (docs/log.md)
  ludus train og-$cubes$seed-pac $world pac.alpha=0.7 training.updates=${UPDATES:-6000} training.evaluate_every=2000 \
    training.evaluation_episodes=50 training.early_stop=false --data og-$cubes$seed --seed $seed
  ludus eval og-$cubes$seed-pac --start task1 task2 task3 task4 task5 --temperature 0 0.333 1 --episodes 10 \
    --json og-$cubes$seed-pac.json
done

#!/bin/sh
# OGBench's cubes: 200 episodes of play by their oracle, their five evaluation tasks, 10 episodes each.
#   CUBES=double LABELS=play SEEDS=0 UPDATES=8000 EPISODES=40 sh ogbench.sh
set -e
mkdir -p runs/results && cd runs/results
cubes=${CUBES:-single} labels=${LABELS:-play-hindsight}
world="world.name=ogbench world.variant=$cubes world.n_envs=50"
# labelled with the oracle's own commands the data hold few bad actions: then small differences of Q mean less (docs/log.md)
[ $labels = play ] && eta=2 || eta=0.5
often="training.evaluate_every=3000 training.evaluation_episodes=50 training.early_stop=false"
for seed in ${SEEDS:-0 1}; do
  data=og-$cubes-$labels$seed
  ludus collect $data $world --actor $labels --episodes 200 --seed $seed
  ludus train $data-pac $world $often agent.alpha=0.7 agent.eta=$eta training.updates=${UPDATES:-9000} --data $data --seed $seed
  ludus train $data-bc $world $often training.updates=${UPDATES:-9000} --data $data --preset cpu,bc --seed $seed
  for learner in pac bc; do
    ludus eval $data-$learner world.n_envs=10 --goals --start task1 task2 task3 task4 task5 --temperature 0 0.333 1 --episodes ${EPISODES:-10} \
      --json $data-$learner.json
  done
done

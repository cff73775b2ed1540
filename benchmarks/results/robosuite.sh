#!/bin/sh
# robosuite's Lift and Stack: a noisy teacher's episodes, one policy for each, 100 episodes of the task by robosuite's own check.
set -e
mkdir -p runs/results && cd runs/results
seed=${SEED:-0}
often="training.updates=${UPDATES:-10000} training.evaluate_every=5000 training.evaluation_episodes=8 training.early_stop=false"
ludus worlds install ../../examples/robosuite_world.py:stack
for task in lift stack; do
  [ $task = lift ] && own="lift red" || own="stack red on green"
  world="world.name=../../examples/robosuite_world.py:$task world.n_envs=16"
  ludus collect robosuite-$task$seed $world seed_data.clean_share=0.05 --episodes ${EPISODES:-1536} --seed $seed
  ludus train robosuite-$task$seed-pac $world $often --data robosuite-$task$seed --seed $seed
  ludus eval robosuite-$task$seed-pac --skills "$own" --temperature 0 0.333 --episodes 100 --json robosuite-$task$seed-pac.json
done

#!/bin/sh
# MT10: one policy for ten tasks of Meta-World (rewards v2), told by the caption alone, from episodes of noisy experts; cloning beside it.
set -e
mkdir -p runs/results && cd runs/results
seed=${SEED:-0} kind=../../examples/metaworld_mt10.py:mt10
world="world.name=$kind world.n_envs=16" # more only take memory: 25 MB for each of them and each task
often="training.updates=${UPDATES:-20000} training.evaluate_every=5000 training.evaluation_episodes=10 training.early_stop=false"
ludus worlds install $kind
# of all ten tasks the experts themselves solve .82 at noise .4, .65 at .6, .40 at .8, .30 at 1 (6 episodes of each): less than half
ludus collect mt10-$seed $world seed_data.segments=1 seed_data.min_noise=0.3 seed_data.max_noise=1.2 seed_data.clean_share=0 \
  --episodes ${EPISODES:-6144} --seed $seed
for learner in pac bc; do
  [ $learner = bc ] && preset=cpu,bc || preset=cpu
  ludus train mt10-$seed-$learner $world $often --data mt10-$seed --preset $preset --seed $seed
  ludus eval mt10-$seed-$learner --temperature 0 0.333 --episodes 50 --json mt10-$seed-$learner.json
done

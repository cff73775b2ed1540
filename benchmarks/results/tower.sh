#!/bin/sh
# A tower of three and a pyramid, as one skill each: mixed data of the base skills and of these two, an hour in all.
set -e
mkdir -p runs/results && cd runs/results
seed=${SEED:-0}
both="--skills 'tower X on Y on Z' 'pyramid X on Y and Z'"
ludus collect mixed$seed seed_data.clean_share=0.05 --seed $seed
eval ludus collect high$seed seed_data.clean_share=0.1 seed_data.segments=1 --episodes 3072 --seed $seed $both
ludus train high$seed-pac training.updates=80000 training.evaluate_every=20000 training.evaluation_episodes=4 \
  training.early_stop=false --data mixed$seed high$seed --weights 0.5 0.5 --seed $seed
eval ludus eval high$seed-pac --temperature 0.333 --episodes 100 --json high$seed-pac.json $both
ludus eval high$seed-pac --plan "stack green on blue and leave" "stack red on green" --skills "tower red on green on blue" \
  --temperature 0.333 --episodes 100 --json high$seed-tower-plan.json

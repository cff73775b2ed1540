#!/bin/sh
# A tower of three and a pyramid, as one skill each: on from the policy of mixed.sh, with the teacher's episodes of these two besides.
set -e
mkdir -p runs/results && cd runs/results
seed=${SEED:-0}
both="--skills 'tower X on Y on Z' 'pyramid X on Y and Z'"
eval ludus collect tower$seed seed_data.clean_share=0.1 seed_data.segments=1 --episodes 1536 --seed $seed $both
ludus train tower$seed-pac training.updates=${UPDATES:-12000} training.evaluate_every=4000 training.evaluation_episodes=8 \
  training.early_stop=false --data mixed$seed tower$seed --weights 0.4 0.6 --init mixed$seed-pac --seed $seed
eval ludus eval tower$seed-pac --temperature 0.333 --episodes 100 --json tower$seed-pac.json $both
ludus eval tower$seed-pac --plan "stack green on blue and leave" "stack red on green" --skills "tower red on green on blue" \
  --temperature 0.333 --episodes 100 --json tower$seed-plan.json

#!/bin/sh
# Mixed data: what a text-conditioned Perceiver learns in 15 minutes of collecting and training. Three seeds.
set -e
mkdir -p runs/results && cd runs/results
for seed in ${SEEDS:-0 1 2}; do
  ludus collect mixed$seed seed_data.clean_share=0.05 --seed $seed
  ludus train mixed$seed-pac training.updates=16000 training.evaluate_every=4000 training.evaluation_episodes=4 \
    training.early_stop=false --data mixed$seed --seed $seed
done
for seed in ${SEEDS:-0 1 2}; do
  ludus eval mixed$seed-pac --temperature 0 0.333 1 --episodes 100 --json mixed$seed-pac.json
  # a tower of three as a plan of two skills
  ludus eval mixed$seed-pac --plan "stack green on blue and leave" "stack red on green" --skills "tower red on green on blue" \
    --temperature 0 0.333 --episodes 100 --json mixed$seed-tower-plan.json
  # four and five blocks, trained on three
  for blocks in 4 5; do
    ludus eval mixed$seed-pac world.n_blocks=$blocks --temperature 0 0.333 --episodes 32 --json mixed$seed-blocks$blocks.json
  done
done

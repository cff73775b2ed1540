#!/bin/sh
# How far a policy gets on its own rounds: ROUNDS of collecting by what was learned, and learning on from there.
#   sh rounds.sh hard   begins with a bad teacher's episodes only (noise 0.3 to 0.6)
#   sh rounds.sh zero   begins with random actions only: no demonstration at all
set -e
mkdir -p runs/results && cd runs/results
kind=${1:-hard} seed=${SEED:-0}
often="training.evaluate_every=50000 training.evaluation_episodes=4 training.early_stop=false"
run=$kind$seed
if [ $kind = hard ]; then
  ludus collect $run seed_data.min_noise=0.3 seed_data.clean_share=0 --seed $seed
else
  ludus collect $run --actor random --episodes 1024 --seed $seed
fi
ludus train $run-round0 $often training.updates=6000 --data $run --seed $seed
for round in $(seq 1 ${ROUNDS:-6}); do
  before=$run-round$((round - 1)) after=$run-round$round
  ludus eval $before --episodes 32 --json $before.json
  ludus collect $run experiment.temperature=0.7 --actor policy --policy $before --name round-$round --episodes 768 --seed $seed
  ludus train $after $often training.updates=4000 --data $run --init $before --seed $seed
done
ludus eval $after --episodes 100 --json $after.json

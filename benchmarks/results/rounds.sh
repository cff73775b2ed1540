#!/bin/sh
# How far a policy gets on its own rounds: collecting by what was learned, and learning on from there.
#   sh rounds.sh hard   begins with a bad teacher's episodes only (noise 0.3 to 0.6)
#   sh rounds.sh zero   begins with random actions only: no demonstration at all, and nothing is cloned
set -e
mkdir -p runs/results && cd runs/results
kind=${1:-hard} seed=${SEED:-0}
run=$kind$seed
often="training.evaluate_every=50000 training.evaluation_episodes=4 training.early_stop=false"
if [ $kind = hard ]; then
  rounds=${ROUNDS:-4} episodes=768 temperature=0.7 first=6000 updates=4000
  ludus collect $run seed_data.min_noise=0.3 seed_data.clean_share=0 --seed $seed
else
  rounds=${ROUNDS:-30} episodes=256 temperature=1 first=2000 updates=800
  often="$often pac.alpha=0 pac.eta=0.2 pac.n_step=4 pac.acting_ema=0.005 sampling.own=0.3 sampling.achieved=0.3"
  ludus collect $run --actor random --episodes 1024 --seed $seed
fi
ludus train $run-round0 $often training.updates=$first --data $run --seed $seed
for round in $(seq 1 $rounds); do
  before=$run-round$((round - 1)) after=$run-round$round
  ludus collect $run --temperature $temperature --actor policy --policy $before --name round-$round --episodes $episodes --seed $seed
  ludus train $after $often training.updates=$updates --data $run --init $before --seed $seed
done
ludus eval $after --temperature 0.333 1 --episodes 100 --json $after.json

#!/bin/sh
# How far a policy gets on its own rounds: collecting by what was learned, and learning on from there.
#   sh rounds.sh hard   begins with a bad teacher's episodes only (noise 0.3 to 0.6)
#   sh rounds.sh zero   begins with random actions only: no demonstration at all, and nothing is cloned
#   sh rounds.sh high   goes on from `zero`, which lifts: told to hover and stack, half of the time from a stack, and what is
#                       rarely achieved learned as often as what is always; clones its own actions that led to something
set -e
mkdir -p runs/results && cd runs/results
kind=${1:-hard} seed=${SEED:-0}
run=$kind$seed
often="training.evaluate_every=50000 training.evaluation_episodes=4 training.early_stop=false"
if [ $kind = hard ]; then
  rounds=${ROUNDS:-4} episodes=768 temperature=0.7 first=6000 updates=4000
  ludus collect $run seed_data.min_noise=0.3 seed_data.clean_share=0 --seed $seed
elif [ $kind = zero ]; then
  rounds=${ROUNDS:-30} episodes=256 temperature=1 first=2000 updates=800
  often="$often agent.alpha=0 agent.eta=0.2 agent.n_step=4 agent.acting_ema=0.005 sampling.commanded_ratio=0.3 sampling.hindsight_ratio=0.3"
  ludus collect $run --actor random --episodes 1024 --seed $seed
fi
if [ $kind = high ]; then
  zero=zero$seed before=${FROM:-$zero-round24}
  for round in $(seq 1 ${ROUNDS:-20}); do
    for start in scattered stacked; do
      ludus collect $run --actor policy --policy $before --temperature 0.6 experiment.exploration=0.1 --name $start-$round --start $start \
        --skills "hover X above Y" "stack X on Y" seed_data.segments=1 --episodes 256 --seed $seed
    done
    ludus train $run-round$round $often training.updates=800 agent.alpha=0.2 agent.eta=1 agent.acting_ema=0.005 sampling.bc_labels=hindsight \
      sampling.commanded_ratio=0.3 sampling.hindsight_ratio=0.4 sampling.balance_hindsight=1 --data $zero $run --weights 0.3 0.7 --init $before --seed $seed
    before=$run-round$round
  done
  exec ludus eval $before --temperature 0 0.333 1 --episodes 100 --json $before.json
fi
ludus train $run-round0 $often training.updates=$first --data $run --seed $seed
for round in $(seq 1 $rounds); do
  before=$run-round$((round - 1)) after=$run-round$round
  ludus collect $run --temperature $temperature --actor policy --policy $before --name round-$round --episodes $episodes --seed $seed
  ludus train $after $often training.updates=$updates --data $run --init $before --seed $seed
done
ludus eval $after --temperature 0.333 1 --episodes 100 --json $after.json

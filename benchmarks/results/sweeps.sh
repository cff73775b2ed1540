#!/bin/sh
# One setting at a time, on the poor data of poor.sh; 6,000 updates each, or as many as UPDATES says.
set -e
mkdir -p runs/results && cd runs/results
often="training.evaluate_every=50000 training.evaluation_episodes=4 training.early_stop=false training.updates=${UPDATES:-6000}"
for setting in pac.eta=2 pac.eta=0.5 pac.eta=1 pac.eta=4 pac.alpha=0 pac.alpha=0.1 pac.alpha=0.6 pac.alpha=0.9 \
  pac.n_step=1 pac.n_step=4 pac.n_step=16 \
  sampling.own=0.9,sampling.achieved=0.05 sampling.own=0.3,sampling.achieved=0.6 sampling.own=0.1,sampling.achieved=0.1 sampling.balance_achieved=1; do
  run=sweep-$setting
  ludus train $run $often $(echo $setting | tr , ' ') --data poor0
  ludus eval $run --temperature 0 0.333 --episodes 32 --json $run.json
done
for same in pac.alpha=0.3 pac.n_step=8 sampling.own=0.6,sampling.achieved=0.3 sampling.balance_achieved=0; do # the defaults, in every panel
  cp sweep-pac.eta=2.json sweep-$same.json
done

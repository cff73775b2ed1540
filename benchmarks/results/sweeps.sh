#!/bin/sh
# One setting at a time, on the poor data of poor.sh; 6,000 updates each, or as many as UPDATES says.
set -e
mkdir -p runs/results && cd runs/results
often="training.evaluate_every=50000 training.evaluation_episodes=4 training.early_stop=false training.updates=${UPDATES:-6000}"
for setting in agent.eta=2 agent.eta=0.5 agent.eta=1 agent.eta=4 agent.alpha=0 agent.alpha=0.1 agent.alpha=0.6 agent.alpha=0.9 \
  agent.n_step=1 agent.n_step=4 agent.n_step=16 \
  sampling.commanded_ratio=0.9,sampling.hindsight_ratio=0.05 sampling.commanded_ratio=0.3,sampling.hindsight_ratio=0.6 sampling.commanded_ratio=0.1,sampling.hindsight_ratio=0.1 sampling.balance_hindsight=1; do
  run=sweep-$setting
  ludus train $run $often $(echo $setting | tr , ' ') --data poor0
  ludus eval $run --temperature 0 0.333 --episodes 32 --json $run.json
done
for same in agent.alpha=0.3 agent.n_step=8 sampling.commanded_ratio=0.6,sampling.hindsight_ratio=0.3 sampling.balance_hindsight=0; do # the defaults, in every panel
  cp sweep-agent.eta=2.json sweep-$same.json
done

#!/bin/sh
# Captions never seen in training, composed of known words: two ordered pairs are held out of every label.
set -e
mkdir -p runs/results && cd runs/results
seed=${SEED:-0}
ludus collect mixed$seed seed_data.clean_share=0.05 --seed $seed
ludus train held-out$seed training.updates=10000 training.evaluate_every=10000 training.evaluation_episodes=4 \
  training.early_stop=false --data mixed$seed --seed $seed \
  --hold-out "stack red on green" "stack red on green and leave" "hover red above green" \
  "stack green on blue" "stack green on blue and leave" "hover green above blue"
ludus eval held-out$seed --temperature 0.333 --episodes 100 --json held-out$seed.json

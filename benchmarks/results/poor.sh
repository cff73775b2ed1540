#!/bin/sh
# Poor data (no clean episode): the method against cloning, on the same data and in the same time.
set -e
mkdir -p runs/results && cd runs/results
often="training.evaluate_every=50000 training.evaluation_episodes=4 training.early_stop=false"
seed=${SEED:-0}
ludus collect poor$seed seed_data.min_noise=0.25 seed_data.clean_share=0 --seed $seed
# updates: what each does in the same time on the machine of docs/results.md
train() { ludus train poor$seed-$1 $often training.updates=$2 --data poor$seed --preset cpu,$3 --seed $seed; }
train pac 9000 cpu
train bc 20000 bc
train bc-filtered 20000 bc-filtered
train bc-hindsight 20000 bc-hindsight
train bcq 12000 bc+q
for kind in pac bc bc-filtered bc-hindsight bcq; do
  ludus eval poor$seed-$kind --temperature 0 0.333 1 --episodes 100 --json poor$seed-$kind.json
done

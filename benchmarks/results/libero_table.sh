#!/bin/sh
# LIBERO-PRO's spatial and goal suites: one policy for both from a noisy scripted teacher in LIBERO's own scenes, measured at the 50 official
# starts of every task. The teacher alone, and which bowl a sentence means: libero_table.py beside this script.
set -e
mkdir -p runs/results && cd runs/results
seed=${SEED:-0} kind=../../examples/libero_table.py:table
world="world.name=$kind world.threads=${THREADS:-1}"
ludus worlds install $kind
collect() { # name, episodes, noise, number that is added to the seed, skills
  name=libero-$1-$seed n=$2 noise=$3 from=$((seed + $4)) && shift 4
  ludus collect $name $world world.options.starts=exchanged world.n_envs=64 -n $n --noise $noise --seed $from "$@"
}
collect all 768 0-0.3 0
collect bowls 384 0-0.3 1000 --skills "put bowl 1 on the plate" "put bowl 2 on the plate" "put bowl 1 in the top drawer"
collect drawers 576 0-0.08 2000 --skills "open the middle drawer" "open the bottom drawer" "put bowl 1 in the top drawer" \
  "put the cream cheese in the top drawer" "put the wine bottle on the rack"
collect puts 256 0-0.2 3000 --skills "put bowl 1 on the plate" "put bowl 2 on the plate" "put bowl 1 on the stove" \
  "push the plate to the stove front" "put the cream cheese in bowl 1"
learn() { # name, updates, further arguments
  name=libero-table-$seed-$1 updates=$2 && shift 2
  ludus train $name $world --data libero-all-$seed libero-bowls-$seed libero-drawers-$seed libero-puts-$seed --seed $seed \
    training.evaluation_episodes=0 training.updates=$updates training.early_stop=false "$@"
}
learn first 12000
learn second 10000 --init libero-table-$seed-first
learn pac 10000 --init libero-table-$seed-second
measure() { # suite, episodes of each skill, skills
  suite=$1 n=$2 && shift 2
  ludus eval libero-table-$seed-pac world.options.suite=libero_$suite world.options.starts=official world.n_envs=50 --temperature 0.333 \
    --episodes $n --skills "$@" --json libero-table-$seed-$suite.json
}
measure spatial 500 "put bowl 1 on the plate"
measure spatial_swap 500 "put bowl 1 on the plate"
measure spatial_task 500 "put bowl 2 on the plate"
for suite in goal goal_swap; do
  measure $suite 50 "open the middle drawer" "put bowl 1 on the stove" "put the wine bottle on the cabinet" "put bowl 1 in the top drawer" \
    "put bowl 1 on the cabinet" "push the plate to the stove front" "put the cream cheese in bowl 1" "turn the stove knob on" \
    "put bowl 1 on the plate" "put the wine bottle on the rack"
done
measure goal_task 50 "open the bottom drawer" "put the plate on the stove" "put the wine bottle in bowl 1" "put the cream cheese in the top drawer" \
  "put the plate on the cabinet" "push the cream cheese to the stove front" "turn the stove knob off" "put the wine bottle on the plate" \
  "put the cream cheese on the rack"

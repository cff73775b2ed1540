#!/bin/sh
# LIBERO-PRO's spatial and goal suites: one policy for both from a noisy scripted teacher in LIBERO's own scenes, measured at the 50 official
# starts of every task. The teacher alone, and which bowl a sentence means: libero_table.py beside this script.
set -e
mkdir -p runs/results && cd runs/results
seed=${SEED:-0} kind=../../examples/libero_table.py:table
world="world.name=$kind world.threads=${THREADS:-1}"
exchanged="world.options.starts=exchanged world.n_envs=64 --noise 0-0.3"
ludus worlds install $kind
ludus collect libero-table-$seed $world $exchanged -n ${EPISODES:-768} --seed $seed
ludus collect libero-more-$seed $world $exchanged -n ${EPISODES:-768} --seed $((seed + 1000)) --skills "put bowl 1 on the plate" \
  "put bowl 2 on the plate" "put bowl 1 in the top drawer"
ludus train libero-table-$seed-pac $world --data libero-table-$seed libero-more-$seed --seed $seed training.evaluation_episodes=0 \
  training.updates=${UPDATES:-12000} training.early_stop=false
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

#!/usr/bin/env bash
# Every dynamic sampler of dprune against all data and against one random subset, on as much of CIFAR-10 as two CPU
# cores can train on: 10,000 images whose largest class is ten times the smallest, a tiny model, 20 epochs
# whatever is visited, half the test set as test set. No paper has numbers for this; it compares the samplers
# with one another, their defaults as they are. `keep` is what an epoch visits on average.
#
# `rcap_class` takes the class losses over all samples, not only those visited; `rcap_beta0.25` draws harder within
# classes, as the authors do on CIFAR-10 at keep 0.2. `drop` goes by recall on the other half of the test set.
#
# 20 epochs are few for some. `ucb` takes what it has not visited first, so at keep 0.1 losses count from the
# eleventh epoch on. `tdds` at keep 0.1 ends before every sample has its score.
#
# How the class budgets of RCAP follow the class losses is added to correlation.txt beside its runs; see
# correlation.py.
source "$(dirname "$0")/common.sh"
begin samplers "$@"

expect accuracy <<<"dataset method"

keeps="0.1 0.3 0.5" count=10000
if [ $mode = quick ]; then
    # Two of 4 epochs of InfoBatch visit everything and the others a tenth at least, so 0.55 is its smallest.
    keeps="0.6" count=1000
fi
methods="random rs2 rcap rcap_class rcap_beta0.25 drop tdds infobatch eps_greedy ucb"

# can_meet METHOD KEEP: InfoBatch visits everything in the first epoch and in the last eighth of them, and a tenth at
# least in the others, which makes 0.28 in 20 epochs; dprune refuses less with exit code 4.
can_meet() {
    [ "$1/$2" != infobatch/0.1 ]
}

# look METHOD KEEP RUN: see common.sh.
look() {
    case $1 in
        rcap*) python "$here/correlation.py" "$3" | tee -a "$work/correlation.txt" ;;
    esac
}

use cifar10
take_tail 10 $count
judges=("$test")
for number in $seeds; do
    start_seed "$number"
    if wanted full 1.0; then
        measure full 1.0
    fi
    for keep in $keeps; do
        for method in $methods; do
            can_meet "$method" "$keep" || continue
            wanted "$method" "$keep" || continue
            case $method in
                rcap_class) sampler=(--sampler rcap:aggregate=class) ;;
                rcap_beta0.25) sampler=(--sampler rcap:beta=0.25) ;;
                drop) sampler=(--sampler drop --val "$val") ;;
                *) sampler=(--sampler "$method") ;;
            esac
            measure "$method" "$keep" "${sampler[@]}" --keep "$keep"
        done
    done
done

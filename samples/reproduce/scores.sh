#!/usr/bin/env bash
# Every score of dprune against random, on as much of CIFAR-10 as two CPU cores can train on: 10,000 images whose
# largest class is four times the smallest, a tiny model, 20 epochs whatever is kept, half the test set as test
# set. No paper has numbers for this; it compares the scores with one another, their defaults as they are.
#
# The scores of a seed come from one training of the query model, those that average over runs from five, the
# first of them the same. `aum` keeps the hard end, as the papers that compare with it do. `tdds_weights` trains
# with the scores as weights, `ccs` is EL2N picked by strata without the hardest tenth by AUM. The mask of
# `adapruner` is learned once, for 0.5; smaller budgets take its best.
source "$(dirname "$0")/common.sh"
begin scores "$@"

expect accuracy <<<"dataset method"

keeps="0.1 0.3 0.5" count=10000 window=10
if [ $mode = quick ]; then
    keeps="0.3" count=1000 window=3
fi
methods="random el2n forgetting aum entropy dyn_unc tdds tdds_weights grand grand_last moderate herding k_center ssp cg
    glister d2 adapruner ccs"

make_scores() {
    step "$work/scores.parquet" dprune score "$train" -o "$work/scores.parquet" "${recipe[@]}" --seed "$seed" \
        --val "$val" -m el2n -m forgetting -m aum -m entropy -m "dyn_unc:window=$window" -m "tdds:window=$window" \
        -m grand -m grand_last -m moderate -m herding -m k_center -m ssp -m cg -m glister -m d2 \
        -m adapruner:keep=0.5
}

use cifar10
take_tail 4 $count
judges=("$test")
for number in $seeds; do
    start_seed "$number"
    if wanted full 1.0; then
        measure full 1.0
    fi
    for keep in $keeps; do
        for method in $methods; do
            wanted "$method" "$keep" || continue
            make_scores
            case $method in
                aum) by=(--by aum --end hard) ;;
                tdds_weights) by=(--by tdds --weight-by tdds) ;;
                ccs) by=(--by el2n --pick stratified:cutoff=0.1) ;;
                *) by=(--by "$method") ;;
            esac
            step "$work/$method-$keep.parquet" dprune select "$work/scores.parquet" "${by[@]}" --keep "$keep" \
                --seed "$seed" -o "$work/$method-$keep.parquet"
            measure "$method" "$keep" --table "$work/$method-$keep.parquet"
        done
    done
done

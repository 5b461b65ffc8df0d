#!/usr/bin/env bash
# DRoP (Vysogorets, Ahuja, Kempe, ICLR 2025, https://arxiv.org/abs/2404.05579): worst-class accuracy of VGG-16 on
# CIFAR-10 and VGG-19 on CIFAR-100 at densities 0.1 to 0.9, and on long-tailed CIFAR-100 with imbalance 2, 5, 20.
#
# As in the paper, half of every class's test images is the validation set (recalls for DRoP and CDB-W come from
# it) and only the other half is the test set; recalls are those of five models trained for a tenth of the
# epochs. The paper trains pruned data for as many epochs as all data, which is the default here; the
# authors' code trains them (0.5 + 0.5 d) / d times as long: `--stretch drop`.
# Departs from the paper: it has its long tails on TinyImageNet. Of its numbers only those in its text are
# below; its figures show the rest. Their spread is not known.
source "$(dirname "$0")/common.sh"
begin drop "$@"

expect worst_class <<'TABLE'
dataset   method       1.0   0.5
cifar100  full         35.8   -
cifar100  full_cdb_w   41.5   -
cifar100  random_drop   -    45.4
TABLE

densities="0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9"
datasets="cifar10 cifar100 cifar100_lt2 cifar100_lt5 cifar100_lt20"
query_epochs=16 queries=5
if [ $mode = quick ]; then
    densities="0.3 0.7" datasets="cifar10 cifar10_lt20" query_epochs=2 queries=2
fi
methods="random random_drop el2n el2n_drop random_el2nq el2n_cdb_w"

# use_tail DATASET FACTOR: its training set with a long tail, the largest class whole.
use_tail() {
    use "$1"
    dataset=$1_lt$2
    take_tail "$2" "$(awk -v factor="$2" -v classes="$(wc -l <"$train/classes.txt")" 'BEGIN {
        for (k = 0; k < classes; k++) sum += factor ^ (-k / (classes - 1))
        printf "%.4f", sum / classes }')"
}

# EL2N after a tenth of the epochs, the mean of five runs.
make_scores() {
    step "$work/scores.parquet" dprune score "$train" -o "$work/scores.parquet" "${recipe[@]}" "${model[@]}" \
        -m "el2n:epoch=$query_epochs" --runs $queries --seed "$seed"
}

# The query models: what they predict for the validation set, in the options `recalls` for `quota`.
make_recalls() {
    local query
    recalls=()
    for ((query = 0; query < queries; query++)); do
        step "$work/query-$query" dprune train "$train" -o "$work/query-$query" "${recipe[@]}" "${model[@]}" \
            --epochs $query_epochs --schedule constant --seed $((seed * queries + query))
        step "$work/recall-$query.parquet" dprune evaluate "$work/query-$query" "$val" \
            -o "$work/recall-$query.parquet"
        recalls+=(--val "$work/recall-$query.parquet")
    done
}

# quota_by NAME KEEP METHOD OPTION...
quota_by() {
    step "$work/$1-$2.parquet" dprune quota "$work/scores.parquet" --keep "$2" --method "$3" --seed "$seed" \
        -o "$work/$1-$2.parquet" "${@:4}"
}

# select_by METHOD KEEP TABLE OPTION...
select_by() {
    step "$work/$1-$2.parquet" dprune select "$3" --seed "$seed" -o "$work/$1-$2.parquet" "${@:4}"
}

# run_seed: everything for one data set and seed.
run_seed() {
    local keep method table
    if wanted full 1.0; then
        measure full 1.0 "${model[@]}"
    fi
    if wanted full_cdb_w 1.0; then
        measure full_cdb_w 1.0 "${model[@]}" --weighter cdb_w --val "$val"
    fi
    for keep in $densities; do
        for method in $methods; do
            wanted "$method" "$keep" || continue
            make_scores
            table=$work/scores.parquet by=(--by "${method%%_*}") more=()
            case $method in
                *_drop)
                    make_recalls
                    quota_by quota_drop "$keep" drop "${recalls[@]}"
                    table=$work/quota_drop-$keep.parquet
                    ;;
                *_el2nq)
                    # The class counts of EL2N, filled at random.
                    quota_by quota_el2n "$keep" score:by=el2n
                    table=$work/quota_el2n-$keep.parquet
                    ;;
                *_cdb_w) by+=(--keep "$keep") more=(--weighter cdb_w --val "$val") ;;
                *) by+=(--keep "$keep") ;;
            esac
            select_by "$method" "$keep" "$table" "${by[@]}"
            measure "$method" "$keep" --table "$work/$method-$keep.parquet" "${model[@]}" "${more[@]}"
        done
    done
}

for name in $datasets; do
    [[ $mode$name != quick*_lt* ]] || densities=0.3
    case $name in
        *_lt*) use_tail "${name%_lt*}" "${name##*_lt}" ;;
        *) use "$name" ;;
    esac
    judges=("$test")
    model=(--model vgg16 --weight-decay 1e-4)
    [[ $name != cifar100* ]] || model=(--model vgg19 --weight-decay 5e-4)
    [ $mode = full ] || model=()
    for number in $seeds; do
        start_seed "$number"
        run_seed
    done
done

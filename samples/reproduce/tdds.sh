#!/usr/bin/env bash
# TDDS (Zhang et al., CVPR 2024, https://arxiv.org/abs/2311.13613), table 1: ResNet-18 on CIFAR-10 and
# CIFAR-100, at 30, 50, 70, 80 and 90 % pruned, against seven baselines. Strategy-E: as many epochs for the
# kept part as for all; `--stretch iterations` makes it Strategy-P, as many steps, which has no numbers here.
#
# Departs from the paper: none of the final models is chosen by test accuracy, each is the last epoch's.
# Not known, and chosen here: T and K on CIFAR-10 (in the supplement; CIFAR-100's are used), the baselines'
# own settings (dprune's defaults, from the one query model of the seed), the spread of the paper's means.
source "$(dirname "$0")/common.sh"
begin tdds "$@"

expect accuracy <<'TABLE'
dataset   method      1.0    0.7    0.5    0.3    0.2    0.1
cifar10   full       95.23   -      -      -      -      -
cifar10   random      -     94.58  93.38  90.61  88.87  83.77
cifar10   entropy     -     94.45  91.90  86.24  83.49  72.06
cifar10   forgetting  -     95.45  95.05  89.14  76.18  45.87
cifar10   el2n        -     95.43  95.06  86.69  68.64  31.89
cifar10   aum         -     95.44  95.19  91.19  69.60  34.74
cifar10   moderate    -     93.96  92.34  89.71  87.75  83.61
cifar10   dyn_unc     -     95.08  94.03  89.40  79.76  37.12
cifar10   tdds        -     95.47  95.21  93.03  91.30  85.46
cifar100  full       78.21   -      -      -      -      -
cifar100  random      -     75.53  71.95  64.59  57.79  46.68
cifar100  entropy     -     72.39  64.44  50.73  42.86  29.56
cifar100  forgetting  -     77.38  70.76  49.92  38.42  25.82
cifar100  el2n        -     76.89  67.57  36.45  17.31   9.10
cifar100  aum         -     77.35  68.17  31.69  18.43   9.29
cifar100  moderate    -     74.60  70.29  62.81  56.52  41.82
cifar100  dyn_unc     -     73.36  65.90  50.16  39.19  15.20
cifar100  tdds        -     77.56  74.04  67.78  63.01  54.51
TABLE

# Keep fraction, T epochs of the query model, windows of K epochs, batch size of the final model: the paper's for
# CIFAR-100, section 4.1 and the supplement.
settings=("0.7 90 10 128" "0.5 70 10 128" "0.3 60 20 128" "0.2 20 10 64" "0.1 10 5 32")
datasets="cifar10 cifar100"
dyn_unc=dyn_unc
if [ $mode = quick ]; then
    settings=("0.5 4 3 128" "0.1 3 3 32") datasets=cifar10 dyn_unc=dyn_unc:window=3
fi
methods="random entropy forgetting el2n aum moderate dyn_unc tdds"

# Every score of a seed from one training of the query model: the baselines' while it trains, tdds from its
# logits, because a table has one column `tdds` and every keep fraction a T and K of its own.
make_scores() {
    step "$work/scores.parquet" dprune score "$train" -o "$work/scores.parquet" "${recipe[@]}" --seed "$seed" \
        -m random -m entropy -m forgetting -m el2n -m aum -m moderate -m "$dyn_unc" --runs 1 \
        --record-trajectory "$work/logits.parquet"
    local setting keep T K batch
    for setting in "${settings[@]}"; do
        read -r keep T K batch <<<"$setting"
        step "$work/scores-tdds-$keep.parquet" dprune score "$train" -m "tdds:epochs=$T,window=$K" --seed "$seed" \
            --from-trajectory "$work/logits.parquet" --no-check -o "$work/scores-tdds-$keep.parquet"
    done
    rm -f "$work/logits.parquet" # up to 4 GB with 100 classes
}

# select_by METHOD KEEP SCORES OPTION...
select_by() {
    step "$work/$1-$2.parquet" dprune select "$3" --keep "$2" --seed "$seed" -o "$work/$1-$2.parquet" "${@:4}"
}

for name in $datasets; do
    use "$name"
    judges=("$val" "$test") # the whole test set
    for number in $seeds; do
        start_seed "$number"
        if wanted full 1.0; then
            measure full 1.0
        fi
        for setting in "${settings[@]}"; do
            read -r keep _ _ batch <<<"$setting"
            for method in $methods; do
                wanted "$method" "$keep" || continue
                make_scores
                scores=$work/scores.parquet by=(--by "$method")
                case $method in
                    aum) by+=(--end hard) ;; # the paper that proposes AUM keeps the easy end
                    tdds)
                        # Importance-aware training, eq. 13.
                        scores=$work/scores-tdds-$keep.parquet by+=(--weight-by tdds)
                        ;;
                esac
                select_by "$method" "$keep" "$scores" "${by[@]}"
                measure "$method" "$keep" --table "$work/$method-$keep.parquet" --batch-size "$batch"
            done
        done
    done
done

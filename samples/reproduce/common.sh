# Sourced by the scripts beside it: their options, and the steps that they are made of.
#
# Every script repeats one published experiment with `dprune` and adds a row for every final model to
# results.csv. It stops at the first error; run again, it skips what is there and goes on where it stopped.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<HELP
usage: $(basename "$0") --data DIR [options]

  --data DIR       data sets as unpack.py writes them: DIR/cifar10/{train,val,test}, DIR/cifar100/...
  --out DIR        scores, selections and models go here (default: reproduced)
  --seeds "0 1 2"  seeds to repeat everything with (default: 0 1 2)
  --only PATTERN   only measurements CLAIM/DATASET/METHOD/KEEP/SEED that match, as '*/cifar10/random/*'
  --stretch HOW    none, iterations or drop: longer schedules for less data (see dprune train --help)
  --results FILE   where the rows go (default: results.csv beside the script)
  --quick          a few thousand images, few epochs, a tiny model: shows that all of it works on a CPU
                   in minutes; says nothing about a method, and is never compared with a paper

The whole of it is hundreds of models for one GPU; --only makes a part of it. Run again, it goes on.
HELP
}

# begin CLAIM "$@": read the options; CLAIM also names the recipe.
begin() {
    claim=$1 data="" out=reproduced seeds="0 1 2" only="*" stretch=none mode=full results=$here/results.csv
    shift
    while [ $# -gt 0 ]; do
        case $1 in
            --quick) mode=quick ;;
            --help | -h) usage && exit ;;
            --data | --out | --seeds | --only | --stretch | --results)
                [ $# -gt 1 ] || fail "$1 needs a value"
                printf -v "${1#--}" %s "$2"
                shift
                ;;
            *) fail "there is no option $1; see --help" ;;
        esac
        shift
    done
    [ -n "$data" ] || fail "give --data DIR; see --help"
    for program in dprune python; do
        command -v "$program" >/dev/null || fail "there is no $program on PATH; activate the environment first"
    done
    recipe=(--recipe "$here/$claim.toml")
    if [ $mode = quick ]; then
        recipe+=(--model tiny --epochs 4)
    fi
    hardware=$(python "$here/record.py" hardware)
    known=$(python "$here/record.py" known "$results" --run $mode --stretch "$stretch")
}

fail() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

# expect FIGURE <<TABLE: the paper's numbers in percent, mean or mean+-spread; the first line names the columns.
expect() {
    figure=$1 expected=$(cat)
}

# paper METHOD KEEP: the paper's number for this data set, if it has one.
paper() {
    awk -v row="$dataset $1" -v keep="$2" '
        NR == 1 { for (i = 3; i <= NF; i++) if ($i == keep) column = i }
        $1 " " $2 == row && column && $column != "-" { print $column }' <<<"$expected"
}

# step OUTPUT COMMAND...: run a command that writes OUTPUT, unless OUTPUT is there. dprune writes its outputs
# whole or not at all, so what is there is finished; --force replaces what else an interrupted command left.
step() {
    local output=$1
    shift
    [ ! -e "$output" ] || return 0
    echo "+ $*"
    "$@" --quiet --force
}

# use DATASET: sets `train`, `val`, `test`, and `dataset` for the rows; --quick takes a random part.
use() {
    dataset=$1
    local part
    for part in train val test; do
        [ -d "$data/$1/$part" ] || fail "there is no $data/$1/$part; unpack.py makes it"
        if [ $mode = quick ]; then
            subset "$data/$1/$part" "$out/quick/data/$1/$part"
            printf -v $part %s "$out/quick/data/$1/$part"
        else
            printf -v $part %s "$data/$1/$part"
        fi
    done
}

# subset FROM TO: 2,000 of the training images and 500 of the others; drawn at random over all classes, so
# that the classes are unequal.
subset() {
    local count=500
    [ "$(basename "$1")" != train ] || count=2000
    mkdir -p "$(dirname "$2")"
    step "$2-all.parquet" dprune score "$1" -m random --no-check -o "$2-all.parquet"
    step "$2" dprune select "$2-all.parquet" --by random --keep $count --shards "$2" -o "$2-kept.parquet"
}

# take_tail FACTOR KEEP: `train` becomes a part of itself, its classes falling geometrically in the order of their ids,
# from the largest to a FACTOR-th of it.
take_tail() {
    local tail=$out/$mode/$claim/$dataset
    mkdir -p "$tail"
    step "$tail/all.parquet" dprune score "$train" -m random --no-check -o "$tail/all.parquet"
    step "$tail/quotas.parquet" dprune quota "$tail/all.parquet" --method "longtail:factor=$1" --keep "$2" \
        -o "$tail/quotas.parquet"
    step "$tail/train" dprune select "$tail/quotas.parquet" --by random --shards "$tail/train" \
        -o "$tail/kept.parquet"
    train=$tail/train
}

# start_seed SEED: a folder of its own for this data set and seed.
start_seed() {
    seed=$1 work=$out/$mode/$claim/$dataset/$1
    mkdir -p "$work"
}

# wanted METHOD KEEP: whether this measurement was asked for and is not among the results yet.
wanted() {
    local id="$claim/$dataset/$1/$2/$seed"
    # shellcheck disable=SC2053 # $only is a pattern
    [[ $id == $only && $'\n'$known$'\n' != *$'\n'$id$'\n'* ]]
}

# look METHOD KEEP RUN: a script that wants to see more of a final model than its row defines it anew.
look() {
    :
}

# measure METHOD KEEP TRAIN-OPTION...: train the final model, test it on the folders of the array `judges`,
# and add a row to the results. The model is deleted then: there are hundreds.
measure() {
    local method=$1 keep=$2 run=$work/$1-$2
    shift 2
    step "$run" dprune train "$train" -o "$run" "${recipe[@]}" --seed "$seed" --stretch "$stretch" "$@"
    look "$method" "$keep" "$run"
    dprune evaluate "$run" "${judges[@]}" --json --quiet | python "$here/record.py" add "$results" "$run" \
        --claim "$claim" --dataset "$dataset" --method "$method" --keep "$keep" --stretch "$stretch" \
        --seed "$seed" --run $mode --hardware "$hardware" --figure "$figure" --paper "$(paper "$method" "$keep")"
    rm -r "$run"
}

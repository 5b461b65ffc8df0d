"""What the help text of each command ends with: how values are written, and command lines that run.

The lines after `Examples:` are run by the tests, in the order score, evaluate, quota, select, methods, train,
prune, where `samples` lies; each may read what earlier ones wrote.
"""

from __future__ import annotations

SCORE = """\
METHOD is a name, or a name with parameters: tdds or tdds:window=5,decay=0.8. `dprune methods score` lists
them with what they need and cost. Several methods share one training pass.

Examples:
  dprune score samples/cifar10/val -m random -o random.parquet
  dprune score samples/cifar10/train -m el2n:epoch=1 -m aum --runs 1 \\
      --epochs 1 --model tiny --save-model query -o scores.parquet
"""

EVALUATE = """\
Run folders come from `dprune train`, or from `dprune score --save-model`.

Examples:
  dprune evaluate query samples/cifar10/val -o val.parquet
  dprune evaluate query samples/cifar10/val --json
"""

QUOTA = """\
B is what is kept: a fraction (0.3 or 30%) of the usable samples, or a count (5000). NAME may have parameters:
longtail:factor=20. `dprune methods quota` lists the names; some need --val.

Examples:
  dprune quota scores.parquet --keep 30% --method balanced -o balanced.parquet
  dprune quota scores.parquet --keep 0.5 --method drop --val val.parquet \\
      --min-per-class 10 -o quotas.parquet --quotas quotas.csv
  dprune quota scores.parquet --from quotas.csv -o edited.parquet
"""

SELECT = """\
B is what is kept: a fraction (0.3 or 30%) of the usable samples, or a count (5000); leave it out where the
table has quotas. COLUMN is a score of the table. `dprune methods picker` lists what --pick takes.

Examples:
  dprune select quotas.parquet --by random --shards kept -o kept.parquet
  dprune select scores.parquet --by el2n --keep 0.3 -o best.parquet \\
      --keys best.txt
  dprune select scores.parquet --by aum --keep 500 --pick stratified:bins=20 \\
      --json
"""

TRAIN = """\
B is what an epoch visits on average: a fraction (0.1 or 10%) or a count (5000). `dprune methods sampler` and
`dprune methods weighter` list the names; parameters are written NAME:param=value,param=value.

Examples:
  dprune train kept -o final --epochs 1 --model tiny
  dprune train samples/cifar10/train --table best.parquet -o best \\
      --val samples/cifar10/val --epochs 1 --model tiny
  dprune train samples/cifar10/train --sampler rs2 --keep 10% -o dynamic \\
      --epochs 1 --model tiny
"""

PRUNE = """\
B is what is kept: a fraction (0.3 or 30%) of the usable samples, or a count (5000). A second call with
another B takes the scores of the first. `dprune methods quota` and `dprune methods score` list the names for
--method; parameters are written NAME:param=value,param=value.

Examples:
  dprune prune samples/cifar10/train --keep 30% -o smaller \\
      --epochs 1 --model tiny
  dprune prune samples/cifar10/train --keep 500 -o smallest \\
      --epochs 1 --model tiny
  dprune prune samples/cifar10/train --keep 30% -m el2n -o hardest --dry-run
"""

METHODS = """\
Examples:
  dprune methods
  dprune methods score
  dprune methods quota --json
"""

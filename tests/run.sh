#!/usr/bin/env bash
# All default tests, a part on every core. Makes .venv and installs dprune with its development tools on the
# first run. Arguments go to pytest: tests/run.sh -m slow -n 0
set -euo pipefail
cd "$(dirname "$0")/.."
source samples/venv.sh "[dev]"
exec python -m pytest -n auto --dist worksteal "$@"

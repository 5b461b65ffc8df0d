# Sourced from the top of the project by the scripts that promise to run on a fresh machine: makes and
# activates .venv with dprune and, as $1, an extra such as "[dev]". Installs again only when
# pyproject.toml changed.
if [ ! -x .venv/bin/python ]; then
    # The newest Python that is new enough, whatever `python3` happens to be.
    for python in python3 python3.13 python3.12 python3.11; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
    done
    "$python" -m venv .venv
fi
source .venv/bin/activate
stamp=".venv/installed${1//[^a-z]/-}"
if ! cmp -s pyproject.toml "$stamp"; then
    echo "installing dprune$1 into .venv (a few minutes the first time)" >&2
    # torch and torchvision in one call: resolved apart they may be built for different devices.
    python -m pip install --quiet --disable-pip-version-check -e ".$1"
    cp pyproject.toml "$stamp"
fi

# Sourced from the top of the project by the scripts that promise to run on a fresh machine: makes and
# activates .venv with dprune and, as $1, an extra such as "[dev]". Installs again only when
# pyproject.toml changed.
[ -d .venv ] || python3 -m venv .venv
source .venv/bin/activate
stamp=".venv/installed${1//[^a-z]/-}"
if ! cmp -s pyproject.toml "$stamp"; then
    # torch and torchvision in one call: resolved apart they may be built for different devices.
    python -m pip install --quiet --disable-pip-version-check -e ".$1"
    cp pyproject.toml "$stamp"
fi

"""Settings under which a plot is the same one, whoever draws it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any


@contextmanager
def own_settings(settings: Mapping[str, Any]) -> Iterator[None]:
    """Draw with matplotlib's defaults and these settings; those of the user come back afterwards.

    A letter that matplotlib's own font lacks is no warning: a browser has it, elsewhere it is a box.

    Args:
        settings: by their names in a `matplotlibrc`.
    """
    import matplotlib

    # What draws windows is none of ours, and would not be put back.
    defaults = matplotlib.rcParamsDefault.items()
    wanted: Any = {name: value for name, value in defaults if not name.startswith("backend")}
    wanted.update(settings)
    with ExitStack() as stack:
        with warnings.catch_warnings():
            # Of a setting that has its default nobody is to be warned.
            warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
            stack.enter_context(matplotlib.rc_context(wanted))
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield

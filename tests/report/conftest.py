"""Where the tests of reports and cards find the helpers of other folders."""

from __future__ import annotations

import sys
from pathlib import Path

# pytest knows of the helpers of other folders only where tests of those folders run too.
sys.path.append(str(Path(__file__).parents[1] / "cli"))

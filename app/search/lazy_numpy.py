"""numpy, imported when it is first used: 0.1 s and 10 MB that a server without memories or documents saves.

`numpy` is `None` where the package is not installed. It is an extra: pip install 'hector[memory]'
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

# Our products take a millisecond: threads for them wait for one another longer than that when the machine is busy
# (measured: twice the CPU and twice the p99). OpenBLAS reads this once, when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class _AtFirstUse:
    def __getattr__(self, name: str) -> Any:
        import numpy

        return getattr(numpy, name)


numpy: Any = _AtFirstUse() if find_spec("numpy") is not None else None

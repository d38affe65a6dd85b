# SPDX-License-Identifier: Apache-2.0
"""Loading shared libraries that this process may have built before under the same name."""

from __future__ import annotations

import ctypes
import tempfile
from pathlib import Path


def load_shared_library(path: Path) -> ctypes.CDLL:
    """Load the library that lies at `path` now. Raises OSError.

    The dynamic linker knows a loaded library by the name it was asked for, and would hand out one that was built there earlier
    and has been replaced since: a second build into the same folder would be judged by the first one's design. So each load asks by
    a name of its own; files that are the same are still loaded once.
    """
    with tempfile.TemporaryDirectory(prefix="bitwright-") as folder:
        name = Path(folder) / path.name
        name.symlink_to(path.resolve())
        return ctypes.CDLL(str(name))

# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks [NAME...]``: run all benchmarks, or those named, and write benchmarks/results/NAME.{json,md}."""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules

import benchmarks
from benchmarks.common import write_results

NAMES = sorted(m.name for m in iter_modules(benchmarks.__path__) if m.name not in ("common", "__main__"))


def main() -> None:
    chosen = sys.argv[1:] or NAMES
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        sys.exit(f"benchmark {unknown[0]!r} is not known; there are: {', '.join(NAMES)}")
    for name in chosen:
        module = import_module(f"benchmarks.{name}")
        print(f"== {name}: {(module.__doc__ or '').strip().splitlines()[0]}", flush=True)
        print(write_results(name, module.__doc__ or "", module.run()))


if __name__ == "__main__":
    main()

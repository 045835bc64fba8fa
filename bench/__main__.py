"""``python3 -m bench NAME``: run one of the measurements of this folder."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import bench


def main(words: list[str]) -> int:
    names = sorted(
        each.name for each in pkgutil.iter_modules(bench.__path__) if each.name[0] != "_"
    )
    if len(words) != 1 or words[0] not in names:
        print(f"bench: say which: make bench NAME={'|'.join(names)}", file=sys.stderr)
        return 2
    return int(importlib.import_module(f"bench.{words[0]}").main() or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

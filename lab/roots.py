"""The cache of root directories, built once for each recipe."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from lab import state
from lab.errors import LabError
from lab.recipe import CUSTOMISE, Recipe
from lab.shell import require_programs, run

CACHE = Path("/var/cache/kcms-lab/roots")
_NEEDED_BYTES = 2 * 1024**3


def ensure(recipe: Recipe) -> tuple[Path, bool]:
    """The root of a recipe, and whether it had to be built.  Two callers never build at once."""
    path = CACHE / recipe.directory
    if path.is_dir():
        return path, False
    require_programs()
    with state.lock(f"root-{recipe.name}"):
        if path.is_dir():
            return path, False
        _build(recipe, path)
        _drop_old(recipe)
    return path, True


def _build(recipe: Recipe, path: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(CACHE).free
    if free < _NEEDED_BYTES:
        raise LabError(f"{CACHE} has {free >> 20} MiB free: a root needs {_NEEDED_BYTES >> 20} MiB")
    print(f"building the root {recipe.name}, about a minute", flush=True)
    for stale in CACHE.glob(f".building-{recipe.name}-*"):
        with suppress(LabError):  # a builder that was killed may have left a program behind
            state.remove_tree(stale)
    temporary = CACHE / f".building-{recipe.name}-{os.getpid()}"
    mirror = os.environ.get("LAB_MIRROR")
    try:
        run(
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=minbase",
            f"--include={','.join(recipe.packages)}",
            recipe.release,
            str(temporary),
            *([mirror] if mirror else []),
        )
        run("sh", "-c", CUSTOMISE, "sh", str(temporary))
        temporary.rename(path)
    finally:
        with suppress(LabError):  # the first error is the one to tell
            state.remove_tree(temporary)


def _drop_old(recipe: Recipe) -> None:
    """Remove roots of the same name and an older recipe that no lab stands on."""
    for path in CACHE.glob(f"{recipe.name}-*"):
        if path.name != recipe.directory and str(path) not in in_use():
            state.remove_tree(path)


def in_use() -> set[str]:
    """The roots that hosts of any lab stand on."""
    labs = (state.load(state.Paths(name)) for name in state.names())
    return {host.root for lab in labs if lab for host in lab.hosts}


def drop() -> None:
    """Remove the whole cache; LabError when a lab stands on a part of it."""
    used = in_use()
    if used:
        raise LabError(f"hosts stand on {', '.join(sorted(used))}: `python3 -m lab destroy-all`")
    state.remove_tree(CACHE)
    if CACHE.parent.is_dir() and not any(CACHE.parent.iterdir()):
        CACHE.parent.rmdir()

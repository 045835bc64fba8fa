"""What a program may have found out about the processor it was started on.

Libraries choose their fastest routines once, at the start; on a processor that lacks an instruction
the moved program would die of SIGILL much later.  So the target must have every instruction set of
the source, whether the job uses it or not: that cannot be known.
"""

from __future__ import annotations

import platform
import re

from kcms.node import procfs

_X86 = re.compile(
    r"(sse|ssse|avx|fma|amx|bmi|xsave|movdir|prefetch).*|aes|pclmulqdq|vaes|vpclmulqdq|gfni|sha_ni|"
    r"popcnt|abm|movbe|rdrand|rdseed|adx|f16c|fsgsbase|erms|fsrm|rtm|hle|clwb|clflushopt|cldemote|"
    r"rdpid|rdtscp|cx16|lahf_lm|serialize|xop|tbm|pku|ospke|waitpkg|3dnowprefetch|misalignsse|sm[34]"
)
"""Of the flags of /proc/cpuinfo on x86, those that programs act on."""


def parse(text: bytes) -> list[str]:
    """The instruction sets that every processor of a cpuinfo has."""
    common: set[str] | None = None
    x86 = True
    for line in text.decode("ascii", "replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            x86 = name.strip() == "flags"
            found = set(value.split())
            common = found if common is None else common & found
    return sorted(each for each in common or () if not x86 or _X86.fullmatch(each))


def instructions() -> list[str]:
    """Of this host, its architecture first."""
    return [platform.machine(), *parse(procfs.read(f"{procfs.PROC}/cpuinfo"))]


def lacking(wanted: list[str], here: list[str]) -> str:
    """The first of the wanted ones that is not here; "" when all are."""
    return next((each for each in wanted if each not in here), "")

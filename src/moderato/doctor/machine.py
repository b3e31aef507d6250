"""What this machine has that decides how fast moderato is. Linux tells it in files; of others less is known."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from moderato.assemble import Workshop
from moderato.bench.proc import table
from moderato.doctor import Finding

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512_bf16": "BF16",
    "amx_tile": "AMX",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX BF16",
    "asimd": "NEON",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "BF16",
    "sve": "SVE",
}
"""The kernel's names (arch/x86/include/asm/cpufeatures.h, Documentation/arch/arm64/elf_hwcaps.rst) and everybody's."""
_NEEDED = {"AVX2", "NEON"}  # one of them: what fast kernels are written for at the least


def examine(workshop: Workshop) -> Iterator[Finding]:
    """The processor, the cores and the memory, and how much of them this process may use."""
    yield _processor()
    yield _cores(workshop.settings.threads)
    yield _memory()


def _processor() -> Finding:
    facts = table(_PROC / "cpuinfo")
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    features = list(dict.fromkeys(_FEATURES[flag] for flag in _FEATURES if flag in flags))
    name = facts.get("model name") or platform.processor() or platform.machine()
    if not flags:
        return Finding("processor", "note", f"{name}; what it can do is not told on {platform.system()}")
    if not _NEEDED.intersection(features):
        return Finding("processor", "note", f"{name}: neither AVX2 nor NEON, so encoders are slow")
    return Finding("processor", "well", f"{name}: {', '.join(features)}")


def _cores(threads: int) -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    allowed = cores if quota is None else min(cores, max(1, int(quota)))
    detail = f"{threads} of {cores} used (MODERATO_THREADS)"
    if quota is not None and quota < cores:
        detail += f", where a cgroup allows the time of {quota:g}"
    if threads > allowed:
        return Finding("cores", "note", f"{detail}: too many wait for one another", f"MODERATO_THREADS={allowed}")
    return Finding("cores", "well", detail)


def _memory() -> Finding:
    facts = table(_PROC / "meminfo")
    if not {"MemTotal", "MemAvailable"} <= facts.keys():
        return Finding("memory", "note", f"not told on {platform.system()}")
    total, free = (int(facts[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    limits = [int(text) for text in _limits("memory", "memory.max", "memory.limit_in_bytes") if text.isdigit()]
    allowed = min(limits, default=total)
    within = f"; a cgroup allows {_gib(allowed)}" if allowed < total else ""
    return Finding("memory", "well", f"{_gib(total)}, of which {_gib(free)} free{within}")


def _quota() -> float | None:
    """Cores' worth of time that cgroups allow; None where they allow all."""
    pairs = [text.split() for text in _limits("cpu", "cpu.max", "")]
    spans = [_limits("cpu", "", f"cpu.cfs_{what}_us") for what in ("quota", "period")]
    pairs += [list(pair) for pair in zip(*spans, strict=False)]
    shares = [int(pair[0]) / int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0].isdigit()]
    return min(shares, default=None)


def _limits(controller: str, second: str, first: str) -> Iterator[str]:
    """What a file says in the cgroup of this process and in all above it.

    `second` is its name in version 2 of cgroups, `first` in version 1, where each controller has a tree of its own
    (https://docs.kernel.org/admin-guide/cgroup-v2.html). In a container the tree may begin at its own group.
    """
    with suppress(OSError):
        for line in (_PROC / "self" / "cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            file = second if not names else first if controller in names.split(",") else ""
            root = _CGROUPS / controller if names else _CGROUPS
            own = root / path.lstrip("/")
            for folder in [own, *(parent for parent in own.parents if parent.is_relative_to(root))] if file else []:
                with suppress(OSError):
                    yield (folder / file).read_text().strip()


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"

"""What a result was measured on, in one line."""

from __future__ import annotations

import os
import platform
import re
from typing import Any

import numpy as np

from .. import backend
from ..backend.cpu.threads import get_num_threads

__all__ = ["describe_machine", "duration"]


def describe_machine(device: Any = "cpu") -> str:
    """The processor or GPU, how many threads, and the versions of Python and NumPy."""
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}"
    if str(device) != "cpu":
        return f"{device}: {backend.cuda.probe()[1]}, {versions}"
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):  # Linux, where `platform` knows only the architecture
        with open("/proc/cpuinfo") as file:
            found = re.search(r"^model name\s*:\s*(.+)$", file.read(), flags=re.M)
        name = found[1].strip() if found else name
    return f"{name}, {os.cpu_count()} processors, {get_num_threads()} threads, {versions}"


def duration(seconds: float) -> str:
    """A time as people say it: 12 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

"""Freed memory is kept after `keep_memory`, and only then."""

import platform
import subprocess
import sys

import pytest

from minidl import backend

FAULTS = """
import resource
import numpy as np
import minidl.backend
{0}
x = np.ones(12_000_000, np.float32)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        x + x
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults_of_a_repeated_sum(beginning: str) -> int:
    code = FAULTS.format(beginning)
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_a_result_of_48_mb_causes_no_page_faults_once_memory_is_kept():
    assert faults_of_a_repeated_sum("assert minidl.backend.keep_memory()") < 100


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries differ")
def test_importing_minidl_leaves_the_allocator_as_it_is():
    # NumPy's own request for huge pages lowers their number, to one for each 2 MB.
    assert faults_of_a_repeated_sum("") > 100


def test_where_the_library_is_not_glibc_nothing_happens(monkeypatch):
    from minidl.backend.cpu import allocator

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    assert backend.keep_memory() is False

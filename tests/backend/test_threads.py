"""Threads of the CPU kernels."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from minidl.backend import get_num_threads, set_num_threads
from minidl.backend.cpu.threads import one_blas_thread, parallel
from minidl.backend.cpu.workspace import scratch, scratch_with_zeros


@pytest.fixture(autouse=True)
def _same_number_after():
    before = get_num_threads()
    yield
    set_num_threads(before)


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_index_is_worked_on_once(threads):
    set_num_threads(threads)
    done = []
    parallel(done.append, 100)
    assert sorted(done) == list(range(100))
    parallel(done.append, 0)
    assert len(done) == 100


def test_several_threads_take_part():
    set_num_threads(3)
    all_here = threading.Barrier(3, timeout=30)
    names = set()

    def work(index):
        all_here.wait()
        names.add(threading.current_thread().name)

    parallel(work, 3)
    assert len(names) == 3


def test_an_exception_of_a_worker_is_raised_here_and_stops_the_rest():
    set_num_threads(2)
    begun = []

    def work(index):
        begun.append(index)
        if index == 3:
            raise KeyError("at three")
        time.sleep(0.001)

    with pytest.raises(KeyError, match="at three"):
        parallel(work, 1000)
    assert len(begun) < 1000
    parallel(begun.append, 10)  # and the pool still works


def test_work_within_work_runs_in_the_same_thread():
    set_num_threads(2)
    pairs = []

    def outer(index):
        here = threading.get_ident()
        parallel(lambda _: pairs.append(here == threading.get_ident()), 4)

    parallel(outer, 6)
    assert pairs == [True] * 24


def test_blas_runs_on_one_thread_inside_and_as_before_outside():
    before = blas_threads()
    set_num_threads(2)
    inside = []
    parallel(lambda index: inside.append(blas_threads()), 4)
    assert inside == [{1}] * 4
    assert blas_threads() == before
    with one_blas_thread:
        with one_blas_thread:
            assert blas_threads() == {1}
        assert blas_threads() == {1}, "the inner block must not end the outer one"
    assert blas_threads() == before


def test_less_than_one_thread_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        set_num_threads(0)


def run(code, **environment):
    """What a fresh process prints."""
    environment = {**os.environ, **environment}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_number_of_threads_follows_the_environment():
    code = "import minidl.backend as b; print(b.get_num_threads())"
    assert run(code, OMP_NUM_THREADS="3") == "3"
    if hasattr(os, "sched_getaffinity"):
        assert run(code, OMP_NUM_THREADS="") == str(len(os.sched_getaffinity(0)))


def test_importing_starts_no_thread_and_leaves_blas_alone():
    code = """
import threading, numpy, threadpoolctl
before = [p["num_threads"] for p in threadpoolctl.threadpool_info()]
import minidl
assert threading.active_count() == 1
assert [p["num_threads"] for p in threadpoolctl.threadpool_info()] == before
"""
    run(code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_makes_threads_of_its_own():
    code = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads
from minidl.backend import set_num_threads
from minidl.backend.cpu.threads import parallel
set_num_threads(2)
done = []
parallel(done.append, 10)
pid = os.fork()
if pid == 0:
    parallel(done.append, 10)
    os._exit(0 if len(done) == 20 else 1)
assert os.waitpid(pid, 0)[1] == 0
"""
    run(code)


def test_scratch_memory_is_kept_and_grows():
    first = scratch("test", (10, 10), np.float32)
    again = scratch("test", (5, 20), np.float32)
    assert np.shares_memory(first, again)
    larger = scratch("test", (100, 10), np.float64)
    assert larger.shape == (100, 10)
    assert larger.dtype == np.float64
    assert larger.ctypes.data % 64 == 0
    assert not np.shares_memory(scratch("other", (5,), np.float32), larger)


def test_scratch_with_zeros_is_zero_wherever_the_caller_does_not_write():
    array = scratch_with_zeros("zeros", (4, 4), np.float64, "inner")
    array[1:3, 1:3] = 7
    again = scratch_with_zeros("zeros", (4, 4), np.float64, "inner")
    assert again.sum() == 28, "the same layout is not cleared"
    assert not scratch_with_zeros("zeros", (4, 4), np.float64, "outer").any()
    scratch("zeros", (4, 4), np.float64).fill(1)
    assert not scratch_with_zeros("zeros", (4, 4), np.float64, "outer").any()
    assert not scratch_with_zeros("zeros", (2, 3), np.float32, "outer").any()


def test_each_thread_has_scratch_memory_of_its_own():
    mine = scratch("test", (10,), np.float32)
    theirs = []
    thread = threading.Thread(target=lambda: theirs.append(scratch("test", (10,), np.float32)))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, theirs[0])

"""One seed for everything random: the state and how Philox's numbers are handed out."""

import threading

import pytest

import minidl as md
from minidl.backend import random


def draws():
    return random.host_generator().random(3).tolist(), random.next_offset(10)


def test_a_seed_starts_both_generators_again():
    md.manual_seed(7)
    first = draws()
    assert draws() != first
    assert md.manual_seed(7) is random.host_generator()
    assert draws() == first
    assert first[1] == (7, 0)


def test_a_state_continues_where_it_was_taken():
    draws()
    state = random.get_state()
    first = draws(), draws()
    md.manual_seed(1)
    random.set_state(state)
    assert (draws(), draws()) == first


def test_reserved_numbers_do_not_overlap():
    md.manual_seed(0)
    counts = [1, 4, 5, 0, 8]
    offsets = [random.next_offset(count)[1] for count in counts]
    assert offsets == [0, 1, 2, 4, 4], "four numbers come from one counter"


def test_threads_are_never_handed_the_same_numbers():
    md.manual_seed(0)
    seen = []
    threads = [
        threading.Thread(target=lambda: seen.extend(random.next_offset(4) for _ in range(500)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(offset for _, offset in seen) == list(range(2000))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_has_64_bits(seed):
    with pytest.raises(ValueError, match="seed must be in"):
        md.manual_seed(seed)
    md.manual_seed(2**64 - 1)

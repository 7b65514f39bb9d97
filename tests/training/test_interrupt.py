"""Ctrl-C between two steps."""

import os
import signal
import threading
import time

import pytest

from minidl.training.interrupt import note_interrupts


def press():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)  # Python runs the handler at the next opportunity: here


def test_the_first_is_noted_and_the_second_interrupts(capfd):
    noted = []

    def work():
        with note_interrupts() as interrupted:
            noted.append(interrupted())
            press()
            noted.append(interrupted())
            press()
            noted.append("went on")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert noted == [False, True]
    assert "Ctrl-C again" in capfd.readouterr().err


@pytest.mark.parametrize("before", [signal.SIG_IGN, signal.SIG_DFL, signal.default_int_handler])
def test_the_handler_before_comes_back_also_after_an_error(before):
    original = signal.signal(signal.SIGINT, before)
    try:
        with pytest.raises(ZeroDivisionError), note_interrupts():
            raise ZeroDivisionError
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, original)


def test_in_another_thread_nothing_changes():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with note_interrupts() as interrupted:
            seen.append((interrupted(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]

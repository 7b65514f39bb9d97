"""What a result was measured on."""

import platform

import numpy as np
import pytest

from minidl.training.machine import describe_machine, duration


def test_the_machine_is_one_line_with_processor_threads_and_versions():
    line = describe_machine()
    assert "\n" not in line
    assert "processors" in line
    assert f"Python {platform.python_version()}, NumPy {np.__version__}" in line
    assert describe_machine("cuda:0").startswith("cuda:0: ")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_a_time_is_said_as_people_say_it(seconds, words):
    assert duration(seconds) == words

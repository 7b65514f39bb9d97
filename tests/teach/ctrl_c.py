"""Ctrl-C in tests that were themselves started in the background."""

import signal


def heed_ctrl_c():
    """Before a program is started (`preexec_fn`): shells let those in the background ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

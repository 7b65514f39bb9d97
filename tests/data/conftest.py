"""A server on this machine, reached without a proxy."""

import pytest

from .server import Server


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        yield running

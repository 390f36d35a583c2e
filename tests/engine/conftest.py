"""What the tests of the engine share."""

import logging

import pytest


@pytest.fixture
def said(monkeypatch):
    """The log's lines."""
    lines = []
    monkeypatch.setattr(logging.Logger, "handle", lambda self, record: lines.append(record.getMessage()))
    return lines

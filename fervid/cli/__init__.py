"""Shared parts of the commands: configurations, the running job, sweeps and error messages."""

from fervid.cli.composing import compose

__all__ = ["compose"]

"""What the commands share: configurations, the running job, sweeps, and errors that are one sentence."""

from fervid.cli.composing import compose

__all__ = ["compose"]

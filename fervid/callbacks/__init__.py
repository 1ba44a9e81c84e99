"""What happens around training: which stages learn when, what is cached, what is seeded, what is kept."""

from fervid.callbacks.answers import Answers
from fervid.callbacks.epoch_seed import EpochSeed
from fervid.callbacks.finetune import FreezeThenFineTune
from fervid.callbacks.last_checkpoint import LastCheckpoint
from fervid.callbacks.sigterm import OwnSigterm

__all__ = ["Answers", "EpochSeed", "FreezeThenFineTune", "LastCheckpoint", "OwnSigterm"]

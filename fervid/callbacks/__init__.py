"""Lightning callbacks: fine-tuning in phases, feature caching, seeding, checkpoints and recorded outputs."""

from fervid.callbacks.averaged_weights import AveragedWeights
from fervid.callbacks.epoch_seed import EpochSeed
from fervid.callbacks.finetune import FreezeThenFineTune
from fervid.callbacks.last_checkpoint import LastCheckpoint
from fervid.callbacks.linear_probe import LinearProbe
from fervid.callbacks.output_collector import OutputCollector
from fervid.callbacks.sigterm import SigtermHandler

__all__ = [
    "AveragedWeights",
    "EpochSeed",
    "FreezeThenFineTune",
    "LastCheckpoint",
    "LinearProbe",
    "OutputCollector",
    "SigtermHandler",
]

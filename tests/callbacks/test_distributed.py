"""Two ranks keep equal weights when frozen stages are unfrozen."""

import subprocess
import sys

import pytest

SCRIPT = """
from functools import partial
import sys, torch, pytorch_lightning as pl
from fervid.data.targets import ClassTarget
from fervid.callbacks import EpochSeed, FreezeThenFineTune
from fervid.data import SyntheticDataModule
from fervid.tasks.classification import EmotionClassifier
from fervid.models.heads import LinearHead
from fervid.models.network import Network
from fervid.models.paper_backbones import LeNet

class Compare(pl.Callback):
    def on_train_epoch_end(self, trainer, module):
        own = torch.cat([p.detach().flatten() for p in module.parameters()])
        both = trainer.strategy.all_gather(own)
        assert torch.equal(both[0], both[1]), trainer.current_epoch
        frozen = module.backbone.network.conv1.weight
        assert torch.equal(frozen, self.start) == (trainer.current_epoch < 2), trainer.current_epoch

if __name__ == "__main__":
    data = SyntheticDataModule(identities=6, clips=1, frames=2, image_size=28, batch_size=4, cache_dir=sys.argv[1])
    torch.manual_seed(0)
    backbone = LeNet()
    adamw = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.5)
    head = LinearHead(backbone.output_shape(), 8)
    model = EmotionClassifier(Network.of_pictures(backbone, head), ClassTarget("abcdefgh"), optimizer=adamw)
    phases = [{"name": name, "epochs": 2, "unfreeze_from": name} for name in ("head", "all")]
    finetune, compare = FreezeThenFineTune(phases), Compare()
    compare.start = backbone.network.conv1.weight.detach().clone()
    trainer = pl.Trainer(
        max_epochs=4, accelerator="cpu", devices=2, strategy="ddp_find_unused_parameters_true", logger=False,
        callbacks=[compare, finetune, EpochSeed(0)], enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, use_distributed_sampler=False, default_root_dir=sys.argv[1],
    )
    trainer.fit(model, data)
    print("EQUAL")
"""


@pytest.mark.slow
def test_ranks_have_equal_weights_after_each_phase(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert "EQUAL" in process.stdout, process.stderr

"""Models on the Hugging Face hub, arguments of a library's constructor, conversion by timm, and real face weights."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from safetensors.torch import save_file
from torch import nn

from fervid.errors import InputError
from fervid.models.pretrained import PretrainedBackbone
from fervid.models.provenance import timm_info, torchvision_info
from fervid.schema.config_folder import CONFIG_FOLDER

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
FACE_WEIGHTS = SHARED / "weights" / "face_vggface2_mobilenetv1_100_timm.pth"


def made(*words):
    GlobalHydra.instance().clear()
    with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
        config = compose("train", list(words))
    return instantiate(config.backbone, _convert_="all").eval()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The cache of the Hugging Face hub with one model, ResNet-10 with an embedding of 5 numbers, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    torch.manual_seed(0)
    state = timm.create_model("resnet10t", num_classes=5, stem_width=16).state_dict()
    model = tmp_path / "models--someone--faces"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("abc")
    (model / "snapshots" / "abc").mkdir(parents=True)
    save_file(state, model / "snapshots" / "abc" / "model.safetensors")
    config = {"architecture": "resnet10t", "num_classes": 5, "num_features": 512, "model_args": {"stem_width": 16}}
    config["pretrained_cfg"] = {
        "num_classes": 5,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "classifier": "fc",
    }
    (model / "snapshots" / "abc" / "config.json").write_text(json.dumps(config))
    return state


class TestHub:
    def test_model_on_the_hub_is_built_and_loaded(self, hub):
        backbone = made("backbone=timm", "backbone.name=hf_hub:someone/faces", "backbone.image_size=64")
        assert torch.equal(backbone.network.get_submodule("conv1")[0].weight, hub["conv1.0.weight"])
        assert backbone.mean.flatten().tolist() == [0.5, 0.5, 0.5]
        assert backbone.std.flatten().tolist() == [0.25, 0.25, 0.25]
        assert backbone.weights.source == "timm"
        assert len(backbone.weights.sha256) == 64

    def test_weights_on_the_hub_for_a_network_by_name(self, hub):
        words = ["backbone=timm", "backbone.name=resnet10t", "backbone.weights=hf_hub:someone/faces"]
        backbone = made(*words, "backbone.image_size=64", "backbone.options={stem_width:16}")
        assert torch.equal(backbone.network.get_submodule("conv1")[0].weight, hub["conv1.0.weight"])
        assert backbone.weights.requested == "hf_hub:someone/faces"

    def test_unknown_model_is_one_sentence(self, hub):
        with pytest.raises(InputError, match=r"^backbone.name=hf_hub:someone/else cannot be read from the Hugging Fac"):
            PretrainedBackbone("hf_hub:someone/else", library="timm", image_size=64)

    def test_unknown_weights_are_replaced_only_with_a_warning(self, hub, caplog):
        words = ["backbone=timm", "backbone.name=resnet10t", "backbone.weights=hf_hub:someone/else"]
        assert not made(*words, "backbone.image_size=64").pretrained
        assert "NO PRETRAINED WEIGHTS" in caplog.text

    def test_weights_of_timm_are_default_or_on_the_hub(self):
        with pytest.raises(InputError, match="neither a file nor weights of timm: choose DEFAULT, hf_hub"):
            PretrainedBackbone("resnet10t", library="timm", weights="IMAGENET1K_V1", image_size=64)


class TestOptions:
    def test_arguments_of_the_constructor_are_passed_on(self):
        words = ["backbone=timm", "backbone.name=mobilenetv1_100", "backbone.weights=null", "backbone.image_size=64"]
        padded = made(*words, "backbone.options={pad_type:same}")
        assert {type(module).__name__ for module in padded.modules()} >= {"Conv2dSame"}
        assert padded.output_shape() == made(*words).output_shape()
        narrow = PretrainedBackbone("mobilenet_v2", weights=None, image_size=64, options={"width_mult": 0.25})
        assert narrow.get_submodule("network.features.1").conv[1].out_channels == 8

    @pytest.mark.parametrize(("library", "name"), [("timm", "mobilenetv1_100"), ("torchvision", "resnet18")])
    def test_wrong_argument_is_one_sentence(self, library, name):
        with pytest.raises(
            InputError, match=rf"^backbone.options={{'pad': 1}} cannot be used for {name} of {library} "
        ):
            PretrainedBackbone(name, library=library, weights=None, image_size=64, options={"pad": 1})


class TestConversion:
    def test_position_embeddings_are_resampled_to_the_image_size(self, tmp_path):
        torch.manual_seed(0)
        options = {"depth": 1}
        network = timm.create_model("vit_tiny_patch16_224", img_size=96, **options)
        torch.save({"model": network.state_dict()}, tmp_path / "vit.pth")
        backbone = PretrainedBackbone(
            "vit_tiny_patch16_224", library="timm", weights=str(tmp_path / "vit.pth"), image_size=64, options=options
        )
        loaded = {key.split("network.")[-1]: value for key, value in backbone.state_dict().items()}
        assert torch.equal(loaded["patch_embed.proj.weight"], network.patch_embed.proj.weight)
        assert loaded["pos_embed"].shape == (1, 17, 192)
        assert backbone.weights.unwrapped == "state dict converted by timm's checkpoint_filter_fn"

    def test_farl_is_loaded_from_the_names_of_clip(self, tmp_path):
        """The file of FaRL is a state dict of OpenAI's CLIP, with the text encoder, under ``state_dict``."""
        torch.manual_seed(0)
        draw = {
            "class_embedding": (768,),
            "positional_embedding": (197, 768),
            "proj": (768, 512),
            "conv1.weight": (768, 3, 16, 16),
            "ln_pre.weight": (768,), "ln_pre.bias": (768,), "ln_post.weight": (768,), "ln_post.bias": (768,),
        }  # fmt: skip
        block = {
            "ln_1.weight": (768,), "ln_1.bias": (768,), "ln_2.weight": (768,), "ln_2.bias": (768,),
            "attn.in_proj_weight": (2304, 768), "attn.in_proj_bias": (2304,),
            "attn.out_proj.weight": (768, 768), "attn.out_proj.bias": (768,),
            "mlp.c_fc.weight": (3072, 768), "mlp.c_fc.bias": (3072,),
            "mlp.c_proj.weight": (768, 3072), "mlp.c_proj.bias": (768,),
        }  # fmt: skip
        draw |= {f"transformer.resblocks.0.{name}": shape for name, shape in block.items()}
        state = {f"visual.{name}": torch.randn(shape) * 0.02 for name, shape in draw.items()}
        state |= {"text_projection": torch.ones(2, 2), "logit_scale": torch.tensor(1.0)}
        torch.save({"epoch": 64, "state_dict": state}, tmp_path / "FaRL.pth")
        backbone = made("backbone=farl", f"backbone.weights={tmp_path / 'FaRL.pth'}", "+backbone.options.depth=1")
        loaded = {key.split("network.")[-1]: value for key, value in backbone.state_dict().items()}
        expected = state["visual.transformer.resblocks.0.attn.in_proj_weight"]
        assert torch.equal(loaded["blocks.0.attn.qkv.weight"], expected)
        assert backbone.weights.info.data.startswith("LAION-Face 20M")
        assert torch.isfinite(backbone(torch.rand(1, 3, 224, 224))).all()

    def test_error_describes_the_file_and_not_the_conversion(self, tmp_path):
        torch.save({"a.weight": torch.ones(2)}, tmp_path / "other.pth")
        with pytest.raises(InputError, match=r"other.pth cannot be used: it belongs to another network"):
            PretrainedBackbone(
                "vit_tiny_patch16_224", library="timm", weights=str(tmp_path / "other.pth"), image_size=64
            )


def test_data_and_terms_of_named_weights_are_known():
    assert torchvision_info("IMAGENET1K_V2").data == "ImageNet-1k"
    assert "CC BY-NC 4.0" in torchvision_info("IMAGENET1K_SWAG_E2E_V1").licence
    assert torchvision_info("OTHER").data is None
    known = timm_info({"tag": "ns_jft_in1k", "license": "apache-2.0"})
    assert known.data == "JFT-300M and ImageNet-1k (timm's tag ns_jft_in1k)"
    assert known.licence.startswith("apache-2.0; ImageNet may be used only for non-commercial")
    assert timm_info({"tag": "secret"}).data is None


@pytest.mark.skipif(not FACE_WEIGHTS.exists(), reason="needs the face weights in ../shared")
class TestFaceMobileNet:
    def test_batchnorm_stays_frozen_and_terms_are_recorded(self):
        backbone = made("backbone=face_mobilenetv1", f"backbone.weights={FACE_WEIGHTS}", "backbone.image_size=96")
        assert backbone.batchnorm_is_frozen
        assert backbone.weights.as_dict()["data"] == "VGGFace2, identities"
        folded = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
        assert all(
            (module.running_mean == 0).all() and torch.allclose(module.running_var, torch.ones(1), atol=1e-4)
            for module in folded
        )

    @pytest.mark.skipif(not (SHARED / "muxspace").exists(), reason="needs the photographs in ../shared")
    def test_two_photographs_of_a_person_are_nearer_than_those_of_others(self):
        by_subject: dict[str, list[Path]] = {}
        for path in sorted((SHARED / "muxspace").glob("*/*.jpg")):
            by_subject.setdefault(path.name.split("__")[0], []).append(path)
        pairs = [paths[:2] for name, paths in by_subject.items() if len(paths) > 1 and "unknown" not in name][:24]
        faces = np.stack([cv2.resize(cv2.imread(str(path)), (160, 160))[..., ::-1] for pair in pairs for path in pair])
        backbone = made("backbone=face_mobilenetv1", f"backbone.weights={FACE_WEIGHTS}", "backbone.image_size=160")
        with torch.no_grad():
            features = backbone(torch.from_numpy(faces).permute(0, 3, 1, 2)).mean((2, 3))
        assert torch.isfinite(features).all()
        likeness = nn.functional.normalize(features, dim=1) @ nn.functional.normalize(features, dim=1).T
        same = likeness[::2, 1::2].diagonal()
        other = likeness[::2, 1::2][~torch.eye(len(pairs), dtype=torch.bool)]
        auc = (same[:, None] > other[None]).float().mean()
        assert auc > 0.9

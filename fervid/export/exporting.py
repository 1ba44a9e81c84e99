"""Exports a trained network for other programs and verifies each exported file against the network."""

import json
import logging
import shlex
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import safetensors
import safetensors.torch
import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor, nn

from fervid.errors import InputError, first_line
from fervid.export.model_card import faces_in_words, model_card, weights_licence, without_folders
from fervid.models.backbone import Backbone
from fervid.models.batch_invariance import BatchInvariance, check_batches
from fervid.models.heads import Head
from fervid.models.pretrained import PretrainedBackbone
from fervid.models.stages import MADE
from fervid.runs.build import make_network
from fervid.runs.load import load_classifier, stored_config
from fervid.runs.run import open_run
from fervid.runs.trust import Trust
from fervid.schema.tables import Table
from fervid.schema.weights import describe_weights, trained_weights_info
from fervid.storage.atomic import PREFIX, filling
from fervid.tasks.classification import EmotionClassifier

TOLERANCE = 1e-4  # maximum difference of a logit; relative to the largest logit if that is above 1
BATCH_SIZES = (1, 3, 8)  # an exported network must accept any batch size
EXAMPLES = Path(__file__).parent / "examples"

log = logging.getLogger(__name__)

Classify = Callable[[np.ndarray], np.ndarray]  # faces (B, 3, H, W) -> logits (B, num_classes)


class FaceNetwork(nn.Module):
    """The network of a classifier: faces (B, 3, H, W), RGB in [0, 1] -> logits (B, num_classes).

    If the classifier has ``test_flips``, the logits are the mean of those for a face and for its mirror image.

    Args:
        model: the classifier; its backbone and head are set to ``eval()``.
    """

    def __init__(self, model: EmotionClassifier):
        super().__init__()
        head = model.head
        assert isinstance(head, Head)  # that of a network of pictures
        self.backbone: Backbone = model.backbone
        self.head: Head = head
        self.test_flips = model.test_flips
        self.eval()

    def forward(self, faces: Tensor) -> Tensor:
        logits = self.head(self.backbone(faces))
        return (logits + self.head(self.backbone(faces.flip(3)))) / 2 if self.test_flips else logits


def export_run(
    run: Path, formats: Sequence[str], folder: Path | None = None, *, trust: Trust = ()
) -> tuple[Path, dict[str, float]]:
    """Exports the network of a run, with an example script for each format and a model card.

    Args:
        run: path to the run folder.
        formats: names of formats, keys of :data:`FORMATS`.
        folder: the output folder, new or empty; None: ``export`` in the run folder, where formats from an earlier
            export are written again.
        trust: packages whose classes the run may use.

    Returns:
        The output folder, and for each format the largest difference between a logit of the exported network and that
        of the original, on random pictures.

    Raises:
        InputError: if a format is unknown, the run is not finished or has no network, the output folder contains
            other files or cannot be written, a network's outputs depend on the batch, or a network cannot be exported
            or deviates from the original.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise InputError(f"format={', '.join(unknown) or '[]'} is unknown: choose {', '.join(FORMATS)}, or a list.")
    model = load_classifier(run, trust=trust)
    invariance = _batch_invariance(model)
    if not invariance.holds:
        raise InputError(f"{run} cannot be exported. {invariance.sentence}")
    log.info(invariance.sentence)
    finished = open_run(run)
    config = stored_config(finished.results, run, trust=trust)
    about = describe(finished.results, config, model)
    target = run / "export" if folder is None else folder
    _check_target(target, empty=folder is not None)
    folder = target
    # Existing formats are written again: a file from an earlier export may contain another network.
    existing = [name for name, form in FORMATS.items() if (folder / form.file).exists()]
    formats = list(dict.fromkeys([*formats, *existing]))
    try:
        with filling(folder) as new:
            differences = {name: write_format(name, model, config, about, new) for name in formats}
            files = sorted(path.name for path in new.iterdir() if path.suffix != ".md")
            (new / "model_card.md").write_text(model_card(finished, config, files=files), encoding="utf-8")
        for name in NAMES - {*files, "model_card.md"}:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({(error.strerror or first_line(error)).lower()}): free disk space or give "
            "another folder with folder=<folder>."
        ) from error
    return folder, differences


def describe(results: dict[str, Any], config: DictConfig, model: EmotionClassifier) -> dict[str, str]:
    """Returns the metadata for an exported file: all that another program needs to use the network.

    Args:
        results: the contents of the run's ``results.json``.
        config: the run's configuration.
        model: the run's classifier.

    Returns:
        Texts as they are, all other values as JSON.
    """
    backbone = model.backbone
    pretrained = isinstance(backbone, PretrainedBackbone)
    metadata: dict[str, Any] = {
        "class_names": model.class_names,
        "image_size": backbone.image_size,
        "input": "faces: float32 (B, 3, image_size, image_size), RGB in [0, 1], any B; normalisation, channel order "
        "and the averaging over mirror images, if test_flips is true, are part of the network, except in safetensors, "
        "which contains only weights",
        "output": "logits: float32 (B, number of class_names); apply softmax to obtain probabilities",
        "test_flips": model.test_flips,
        "mean": [round(value, 6) for value in backbone.mean.flatten().tolist()],
        "std": [round(value, 6) for value in backbone.std.flatten().tolist()],
        "channel_order": backbone.channel_order,
        "grayscale": bool(config.dataset.get("grayscale", False)),
        "faces": faces_in_words(config),
        "network": str(config.backbone.name) if pretrained else type(backbone).__name__,
        "library": str(config.backbone.get("library") or "torchvision") if pretrained else "fervid",
        "head": type(model.head).__name__,
        "stages": backbone.stages,
        "corpus": results["data"]["corpus"],
        "split": results["choices"].get("split") or "unknown",
        "leakage": results["leakage"]["level"],
        "test_uar": results["metrics"].get("test/uar"),
        "fervid_version": results.get("versions", {}).get("fervid") or "unknown",
        "git_revision": results.get("git_revision") or "unknown",
        "licence": weights_licence(results),
        "initial_weights": " ".join(describe_weights(results.get("weights") or {})) or "random",
        "weights_info": asdict(trained_weights_info(results)),
    }
    return {
        name: without_folders(value) if isinstance(value, str) else json.dumps(value)
        for name, value in metadata.items()
    }


def runs_alone(about: dict[str, str]) -> bool:
    """Whether the weights can be used with torchvision alone: torchvision stages followed by the linear head."""
    is_plain = MADE.isdisjoint(json.loads(about["stages"]))
    return is_plain and (about["library"], about["head"]) == ("torchvision", "LinearHead")


def write_format(name: str, model: EmotionClassifier, config: DictConfig, about: dict[str, str], folder: Path) -> float:
    """Writes one format and its example script; returns the largest difference of a logit after opening it again."""
    form = FORMATS[name]
    path = folder / form.file
    network = FaceNetwork(model)
    try:
        content = form.serialise(network, about)
    except Exception as error:  # exporters raise dozens of exception types
        raise InputError(
            f"PyTorch cannot export this network to {name} ({first_line(error)}): choose another format."
        ) from error
    path.write_bytes(content)
    if name != "safetensors" or runs_alone(about):
        shutil.copyfile(EXAMPLES / form.example, folder / form.example)
    difference, largest = _compare(model, form.open(path, config, model))
    if not difference <= TOLERANCE * max(1.0, largest):
        raise InputError(
            f"the network exported to {name} deviates from the run's by {difference:.2g} in a logit, more than the "
            f"tolerance of {TOLERANCE:g}. No file was written; choose another format."
        )
    return difference


@torch.inference_mode()
def _batch_invariance(model: EmotionClassifier) -> BatchInvariance:
    """Checks on random pictures that logits do not depend on the batch, which no comparison of a file would notice."""
    faces = random_faces(16, model.backbone.image_size, torch.Generator().manual_seed(0))

    def compute(pictures: np.ndarray) -> np.ndarray:
        return model(torch.from_numpy(pictures)).numpy()

    return check_batches(compute, faces.numpy(), compute(faces.numpy()), batch_size=4)


def random_faces(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Returns random pictures, from coarse patches to noise."""
    patches = torch.rand(count, 3, 5, 5, generator=generator)
    noise = torch.rand(count, 3, size, size, generator=generator)
    share = torch.rand(count, 1, 1, 1, generator=generator)
    return (share * noise + (1 - share) * nn.functional.interpolate(patches, (size, size))).contiguous()


@torch.inference_mode()
def _compare(model: EmotionClassifier, classify: Classify) -> tuple[float, float]:
    """Returns the largest difference and the largest logit on random pictures."""
    generator = torch.Generator().manual_seed(0)
    differences, logits = [], []
    for batch in BATCH_SIZES:
        faces = random_faces(batch, model.backbone.image_size, generator)
        expected, found = model(faces).numpy(), classify(faces.numpy())
        if found.shape != expected.shape:
            return float("inf"), 1.0
        differences.append(np.abs(expected - found).max())
        logits.append(np.abs(expected).max())
    return float(np.max(differences)), float(np.max(logits))


def _onnx(network: FaceNetwork, about: dict[str, str]) -> bytes:
    size = network.backbone.image_size
    for name in ("onnx_ir", "onnxscript"):  # they log hundreds of lines about simplifications
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # The exporter itself uses deprecated functions of torch and onnxscript.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        program = torch.onnx.export(
            network,
            (torch.rand(2, 3, size, size),),
            input_names=["faces"],
            output_names=["logits"],
            dynamic_shapes={"faces": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    # The source code positions of the operations are of no use elsewhere and contain paths of this machine.
    for node in proto.graph.node:
        node.ClearField("metadata_props")
    onnx.helper.set_model_props(proto, about)
    return proto.SerializeToString()


def _open_onnx(path: Path, config: DictConfig, model: EmotionClassifier) -> Classify:
    onnx.checker.check_model(path)
    try:
        import onnxruntime
    except ImportError:  # an optional dependency
        from onnx.reference import ReferenceEvaluator

        evaluator: Any = ReferenceEvaluator(str(path))
        return lambda faces: evaluator.run(["logits"], {"faces": faces})[0]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a thread pool once never ended, with another process on the same two cores
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda faces: session.run(["logits"], {"faces": faces})[0]


def _safetensors(network: FaceNetwork, about: dict[str, str]) -> bytes:
    backbone = network.backbone  # backbone.weights expects the parameter names of the library
    state = {backbone.library_name(name): tensor for name, tensor in backbone.network.state_dict().items()}
    state |= {f"head.{name}": tensor for name, tensor in network.head.state_dict().items()}
    # Copies, since safetensors cannot store tensors that share memory or are in channels_last format.
    return safetensors.torch.save(
        {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}, about
    )


def _open_safetensors(path: Path, config: DictConfig, model: EmotionClassifier) -> Classify:
    config = config.copy()
    config.backbone.weights = str(path)  # loads the file in the same way as a new training would
    if config.backbone.get("lora"):
        config.backbone.lora = None  # merged into the weights
    made = make_network(config, len(model.class_names))
    backbone, head = made.encoders[Backbone.modality], made.head
    assert isinstance(backbone, Backbone)
    assert isinstance(head, Head)
    state = safetensors.torch.load_file(path)
    head.load_state_dict({name.removeprefix("head."): state[name] for name in state if name.startswith("head.layers.")})
    network = FaceNetwork(model)
    network.backbone, network.head = backbone, head
    network.eval()
    return lambda faces: network(torch.from_numpy(faces)).numpy()


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        file: name of the exported file.
        example: name of the example script that runs the network without fervid.
        serialise: function from the network and its metadata to the content of the file.
        open: function from the file, the run's configuration and the classifier to a function that classifies faces.
    """

    file: str
    example: str
    serialise: Callable[[FaceNetwork, dict[str, str]], bytes]
    open: Callable[[Path, DictConfig, EmotionClassifier], Classify]


FORMATS = {
    "onnx": Format("model.onnx", "run_onnx.py", _onnx, _open_onnx),
    "safetensors": Format("model.safetensors", "run_safetensors.py", _safetensors, _open_safetensors),
}
NAMES = {"model_card.md", *(name for form in FORMATS.values() for name in (form.file, form.example))}


def _check_target(folder: Path, *, empty: bool) -> None:
    """Refuses an output folder with files that are not part of an export, or with any file if it must be empty."""
    if folder.is_dir():
        found = {path.name for path in folder.iterdir() if not path.name.startswith(PREFIX)}
        others = sorted(found - (set() if empty else NAMES))
        if others:
            raise InputError(f"{folder} already contains {others[0]}: give another folder=, or remove it.")
    for parent in (folder, *folder.parents):
        if parent.exists() and not parent.is_dir():
            raise InputError(f"folder={folder} cannot be created, since {parent} is a file: give another folder.")


def print_export(console: Console, folder: Path, differences: dict[str, float]) -> None:
    """Prints the exported files, their deviations from the original and how to run them.

    Args:
        console: the console.
        folder: the output folder.
        differences: the differences returned by :func:`export_run`.
    """
    by_file = {FORMATS[name].file: difference for name, difference in differences.items()}
    rows = [(path.name, path.stat().st_size / 1e6, by_file.get(path.name)) for path in sorted(folder.iterdir())]
    data = pd.DataFrame(rows, columns=["file", "MB", "largest logit difference"])
    formats = {"MB": "{:.3f}", "largest logit difference": "{:.1e}"}
    Table("export", "Exported files", data, formats).print(console)
    console.print(
        f"Verified against the run's network on {sum(BATCH_SIZES)} random pictures in batches of 1, 3 and 8.",
        highlight=False,
        soft_wrap=True,
    )
    examples = [path for path in sorted(folder.glob("run_*.py"))]
    for path in examples:
        command = shlex.join(["python", str(path), "face.png"])
        console.print(f"Run it without fervid: {command}", highlight=False, soft_wrap=True, markup=False)
    if "safetensors" in differences and not (folder / FORMATS["safetensors"].example).exists():
        console.print("The weights in model.safetensors require fervid: see the model card.", highlight=False)
    console.print(f"Output: {folder}", highlight=False, soft_wrap=True, markup=False)

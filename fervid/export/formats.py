"""Formats of exported networks: how a file is written, and how it is opened again to verify it."""

import copy
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.torch
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from fervid.export.networks import ClipNetwork, FaceNetwork, made_network
from fervid.models.backbone import Backbone
from fervid.models.encoder import Encoder
from fervid.models.heads import Head
from fervid.runs.build import make_network
from fervid.tasks.classification import EmotionClassifier
from fervid.tasks.task import Task

ExportedNetwork = FaceNetwork | ClipNetwork
Compute = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]  # inputs by name -> outputs


@dataclass(frozen=True)
class Format:
    """An export format.

    Attributes:
        file: name of the exported file.
        example: name of the example script that runs the network without fervid.
        serialise: function from the network and its metadata to the content of the file.
        open: function from the file, the run's configuration and its network to a function that computes outputs.
    """

    file: str
    example: str
    serialise: Callable[[Any, dict[str, str]], bytes]
    open: Callable[[Path, DictConfig, Any], Compute]


def _onnx(network: ExportedNetwork, about: dict[str, str]) -> bytes:
    for name in ("onnx_ir", "onnxscript", "torch.onnx"):  # they log hundreds of lines about simplifications
        logging.getLogger(name).setLevel(logging.ERROR)
    inputs = network.example()
    with warnings.catch_warnings():
        # The exporter itself uses deprecated functions of torch and onnxscript, and warns of names of axes.
        for category in (DeprecationWarning, FutureWarning, UserWarning):
            warnings.filterwarnings("ignore", category=category)
        program = torch.onnx.export(
            network,
            kwargs=inputs,
            input_names=list(inputs),
            output_names=list(network.outputs),
            dynamic_shapes=network.dynamic_shapes(),
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


def _open_onnx(path: Path, config: DictConfig, model: Task) -> Compute:
    onnx.checker.check_model(path)
    try:
        import onnxruntime
    except ImportError:  # an optional dependency
        from onnx.reference import ReferenceEvaluator

        evaluator: Any = ReferenceEvaluator(str(path))
        return lambda inputs: evaluator.run(None, dict(inputs))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a thread pool once never ended, with another process on the same two cores
    options.log_severity_level = 4  # errors are raised
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, dict(inputs))


def _safetensors(network: ExportedNetwork, about: dict[str, str]) -> bytes:
    if isinstance(network, FaceNetwork):
        state = {**_library_state(network.backbone), **_prefixed("head", network.head)}
    else:
        state = _prefixed("head", network.network.head)
        for name, branch in network.network.branches.items():
            state |= {f"{name}.{key}": tensor for key, tensor in _library_state(branch.encoder).items()}
            state |= _prefixed(f"pooling.{name}.reduce", branch.reduce)
            state |= _prefixed(f"pooling.{name}", branch.pooling)
    # Copies, since safetensors cannot store tensors that share memory or are in channels_last format.
    return safetensors.torch.save(
        {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}, about
    )


def _library_state(encoder: Encoder) -> dict[str, Tensor]:
    """Returns the weights of an encoder with the names of its library, which ``weights=<file>`` expects."""
    return {encoder.library_name(name): tensor for name, tensor in encoder.network.state_dict().items()}


def _prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}


def _open_safetensors(path: Path, config: DictConfig, model: Task) -> Compute:
    network = made_network(model)
    state = safetensors.torch.load_file(path)
    if isinstance(network, ClipNetwork):
        return _open_clip_weights(path, state, copy.deepcopy(model))  # type: ignore[arg-type]  # a classifier
    config = config.copy()
    config.backbone.weights = str(path)  # loads the file in the same way as a new training would
    if config.backbone.get("lora"):
        config.backbone.lora = None  # merged into the weights
    made = make_network(config, model.target.size)
    backbone, head = made.encoders[Backbone.modality], made.head
    assert isinstance(backbone, Backbone)
    assert isinstance(head, Head)
    head.load_state_dict({name.removeprefix("head."): state[name] for name in state if name.startswith("head.layers.")})
    network.backbone, network.head = backbone, head
    network.eval()

    def compute(inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        outputs = network(torch.from_numpy(inputs["faces"]))
        return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return compute


@torch.no_grad()
def _open_clip_weights(path: Path, state: dict[str, Tensor], model: EmotionClassifier) -> Compute:
    """Replaces all weights of a classifier of clips by those of the file; what the file lacks is 0."""
    for tensor in model.network.state_dict().values():
        tensor.zero_()
    for name, branch in model.network.branches.items():
        branch.encoder.load_tensors(state, str(path))
        for prefix, module in ((f"pooling.{name}.reduce.", branch.reduce), (f"pooling.{name}.", branch.pooling)):
            module.load_state_dict({key: state[f"{prefix}{key}"] for key in module.state_dict()})
    model.network.head.load_state_dict({key: state[f"head.{key}"] for key in model.network.head.state_dict()})
    network = ClipNetwork(model)
    return lambda inputs: [
        output.detach().numpy() for output in network(**{name: torch.from_numpy(x) for name, x in inputs.items()})
    ]


FORMATS = {
    "onnx": Format("model.onnx", "run_onnx.py", _onnx, _open_onnx),
    "safetensors": Format("model.safetensors", "run_safetensors.py", _safetensors, _open_safetensors),
}

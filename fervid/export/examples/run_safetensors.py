"""Classifies face crops without fervid: pip install safetensors torchvision; python run_safetensors.py face.png ..."""

import json
import sys
from pathlib import Path

import torch
from PIL import Image, ImageOps
from safetensors import safe_open
from torchvision.models import get_model
from torchvision.transforms.functional import normalize, to_tensor

if len(sys.argv) < 2:
    sys.exit(__doc__)
with safe_open(Path(__file__).with_name("model.safetensors"), "pt") as file:
    metadata, state = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
print(f"The faces must be cropped as in training: {metadata['faces']}.")
network = get_model(metadata["network"], weights=None).eval()
network.load_state_dict(state, strict=False)  # torchvision's own classifier is neither in the file nor used
stages = torch.nn.Sequential(*map(network.get_submodule, json.loads(metadata["stages"])))
size, colours = int(metadata["image_size"]), "L" if json.loads(metadata["grayscale"]) else "RGB"
opened = [Image.open(path, formats=["JPEG", "PNG", "TIFF", "WEBP"]) for path in sys.argv[1:]]  # no PostScript
upright = [ImageOps.exif_transpose(picture).convert(colours).convert("RGB") for picture in opened]
faces = torch.stack([to_tensor(ImageOps.fit(picture, (size, size))) for picture in upright])
faces = faces.flip(1) if metadata["channel_order"] == "bgr" else faces
views = [faces, faces.flip(3)] if json.loads(metadata["test_flips"]) else [faces]
normalised = [normalize(view, json.loads(metadata["mean"]), json.loads(metadata["std"])) for view in views]
features = torch.stack([stages(view).mean((2, 3)) for view in normalised]).mean(0)  # the head is linear
logits = features @ state["head.layers.1.weight"].T + state["head.layers.1.bias"]
for path, row in zip(sys.argv[1:], logits.softmax(dim=1).tolist(), strict=True):
    ranking = sorted(zip(row, json.loads(metadata["class_names"]), strict=True), reverse=True)
    print(f"{path}: " + ", ".join(f"{emotion} {probability:.4f}" for probability, emotion in ranking))

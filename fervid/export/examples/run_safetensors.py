"""Tells what faces show, without fervid: pip install safetensors torchvision; python run_safetensors.py face.png ..."""

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
    about, state = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
print(f"The faces must be cut out as in training: {about['faces']}.")
whole = get_model(about["network"], weights=None).eval()
whole.load_state_dict(state, strict=False)  # its own classifier is neither there nor used
stages = torch.nn.Sequential(*map(whole.get_submodule, json.loads(about["stages"])))
size, colours = int(about["image_size"]), "L" if json.loads(about["grayscale"]) else "RGB"
opened = [Image.open(path, formats=["JPEG", "PNG", "TIFF", "WEBP"]) for path in sys.argv[1:]]  # no PostScript
upright = [ImageOps.exif_transpose(picture).convert(colours).convert("RGB") for picture in opened]
faces = torch.stack([to_tensor(ImageOps.fit(picture, (size, size))) for picture in upright])
faces = faces.flip(1) if about["channel_order"] == "bgr" else faces
features = stages(normalize(faces, json.loads(about["mean"]), json.loads(about["std"]))).mean((2, 3))
logits = features @ state["head.layers.1.weight"].T + state["head.layers.1.bias"]
for path, chances in zip(sys.argv[1:], logits.softmax(dim=1).tolist(), strict=True):
    told = sorted(zip(chances, json.loads(about["class_names"]), strict=True), reverse=True)
    print(f"{path}: " + ", ".join(f"{emotion} {chance:.4f}" for chance, emotion in told))

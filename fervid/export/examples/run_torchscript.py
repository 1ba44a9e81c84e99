"""Tells what faces show, without fervid: pip install numpy torch pillow; python run_torchscript.py face.png ..."""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

if len(sys.argv) < 2:
    sys.exit(__doc__)
warnings.filterwarnings("ignore", r"`torch\.jit", FutureWarning)  # torch 2.15 still runs what it advises against
extra = {"metadata.json": ""}
network = torch.jit.load(Path(__file__).with_name("model.torchscript.pt"), map_location="cpu", _extra_files=extra)
about = json.loads(extra["metadata.json"])
print(f"The faces must be cut out as in training: {about['faces']}.")
size, colours = int(about["image_size"]), "L" if json.loads(about["grey"]) else "RGB"
opened = [Image.open(path, formats=["JPEG", "PNG", "TIFF", "WEBP"]) for path in sys.argv[1:]]  # no PostScript
upright = [ImageOps.exif_transpose(picture).convert(colours).convert("RGB") for picture in opened]
pictures = [ImageOps.fit(picture, (size, size)) for picture in upright]
faces = torch.from_numpy(np.stack([np.asarray(picture, dtype=np.float32) / 255 for picture in pictures]))
with torch.inference_mode():
    probabilities = network(faces.permute(0, 3, 1, 2)).softmax(dim=1).tolist()
for path, chances in zip(sys.argv[1:], probabilities, strict=True):
    told = sorted(zip(chances, json.loads(about["class_names"]), strict=True), reverse=True)
    print(f"{path}: " + ", ".join(f"{emotion} {chance:.4f}" for chance, emotion in told))

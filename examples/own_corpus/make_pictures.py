"""Renders 96 pictures for the example: ``python make_pictures.py pictures``."""

import sys
from pathlib import Path

from PIL import Image

from fervid.data import SyntheticDataModule

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
rendered = SyntheticDataModule(identities=6, clips=1, frames=2, image_size=128, cache_dir=folder / ".cache")
rendered.prepare_data()
for row, frame in rendered.frames.iterrows():
    name = f"{frame['subject']}_{frame['emotion']}_{frame['frame']}.png"
    Image.fromarray(rendered.store[[row]][0]).save(folder / name)

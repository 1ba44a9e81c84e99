"""Renders 64 pictures for the example: ``python make_pictures.py pictures``."""

import sys
from pathlib import Path

from PIL import Image

from fervid.synthetic.corpus import RenderedSubjects

folder = Path(sys.argv[1])
(folder / ".cache").mkdir(parents=True)
subjects = RenderedSubjects(identities=4, clips=1, frames=2)
frames = subjects.frames()
picture_of = subjects.open_pictures(frames, folder / ".cache")
for row, frame in frames.iterrows():
    name = f"{frame['subject']}_{frame['emotion']}_{frame['frame']}.png"
    Image.fromarray(picture_of(row)).save(folder / name)

"""A corpus of pictures that are named ``<subject>_<emotion>_<number>.png``."""

import pandas as pd

from fervid.corpora.corpus import Corpus
from fervid.corpora.inventory import Inventory
from fervid.media.files import list_files


class Portraits(Corpus):
    """Pictures named ``<subject>_<emotion>_<number>.png``."""

    name, licence, pictures = "portraits", "MIT", True

    def read(self) -> Inventory:
        listing = list_files(self.root, {".png"})
        clips = pd.DataFrame([file.stem.split("_")[:2] for file in listing.files], columns=["subject", "emotion"])
        clips["clip"] = [file.stem for file in listing.files]
        return Inventory(clips, listing.files, notes=listing.notes, left_out=listing.left_out)

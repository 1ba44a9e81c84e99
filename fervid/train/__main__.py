"""``python -m fervid.train``."""

from fervid.train import main

main()

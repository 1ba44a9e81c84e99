"""``python -m fervid.evaluate``."""

from fervid.evaluate import main

main()

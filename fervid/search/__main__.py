"""``python -m fervid.search``."""

from fervid.search import main

main()

"""``python -m fervid.prepare``."""

from fervid.prepare import main

main()

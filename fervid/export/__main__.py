"""``python -m fervid.export``."""

from fervid.export import main

main()

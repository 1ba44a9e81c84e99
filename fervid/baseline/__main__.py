"""``python -m fervid.baseline``."""

from fervid.baseline import main

main()

"""``python -m fervid.demo``."""

from fervid.demo import main

main()

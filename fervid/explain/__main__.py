"""``python -m fervid.explain``."""

from fervid.explain import main

main()

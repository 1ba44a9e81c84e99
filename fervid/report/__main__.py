"""``python -m fervid.report``."""

from fervid.report import main

main()

"""``python -m fervid.audit``."""

from fervid.audit import main

main()

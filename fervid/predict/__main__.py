"""``python -m fervid.predict``."""

from fervid.predict import main

main()

"""How files are written, whole or not at all, locked, and kept from leading elsewhere."""

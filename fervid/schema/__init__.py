"""The contracts that all rooms share: tables, keys, records, levels and how files are written."""

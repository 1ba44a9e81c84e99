"""The contracts that all rooms share: tables, keys, records, levels, and what makes two runs the same."""

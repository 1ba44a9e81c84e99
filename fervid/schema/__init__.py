"""Contracts shared by all packages: tables, keys, records, leakage levels and the identity of runs."""

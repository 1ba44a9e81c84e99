"""Atomic writing of files, locks, escaping of text, and checks for links."""

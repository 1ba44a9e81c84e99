"""Run folders: their content, and functions that open them."""

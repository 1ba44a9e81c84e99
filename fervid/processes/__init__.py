"""Start, end and memory of processes."""

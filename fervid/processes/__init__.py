"""How processes start, end and use memory."""

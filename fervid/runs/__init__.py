"""Run folders: what lies in them, and how they are opened."""

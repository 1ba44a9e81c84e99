"""Faces in pictures: detection, alignment, cropping, tracking."""

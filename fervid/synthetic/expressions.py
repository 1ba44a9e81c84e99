"""Facial action units, and the emotions as activities of action units."""

from __future__ import annotations

ACTION_UNITS: dict[int, str] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    15: "lip corner depressor",
    17: "chin raiser",
    18: "lip pucker",
    20: "lip stretcher",
    24: "lip presser",
    25: "lips part",
    26: "jaw drop",
    43: "eyes closed",
}
"""Names of action units by their number in the Facial Action Coding System (Ekman & Friesen 1978).

An activity of 0 means rest, 1 full contraction.
"""

EXPRESSIONS: dict[str, dict[int, float]] = {
    "neutral": {},
    "calm": {6: 0.2, 12: 0.45, 43: 0.25},
    "happy": {6: 0.85, 12: 1.0, 25: 0.7, 26: 0.15},
    "sad": {1: 0.95, 4: 0.5, 15: 0.95, 17: 0.5, 43: 0.25},
    "angry": {4: 1.0, 5: 0.55, 7: 0.7, 24: 0.8, 17: 0.3},
    "fear": {1: 0.9, 2: 0.5, 4: 0.55, 5: 0.9, 20: 0.9, 25: 0.6, 26: 0.2},
    "disgust": {4: 0.5, 7: 0.5, 9: 1.0, 10: 0.85, 15: 0.3, 17: 0.35},
    "surprise": {1: 0.95, 2: 1.0, 5: 0.75, 25: 0.6, 26: 0.95},
}
"""Action units of each emotion with their activity at the apex, after EMFACS (Friesen & Ekman 1983)."""

EMOTIONS: tuple[str, ...] = tuple(EXPRESSIONS)
INTENSITIES = {"normal": 1.0, "strong": 1.2}

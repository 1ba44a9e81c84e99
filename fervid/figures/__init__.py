"""Functions that return matplotlib figures for run folders, TensorBoard, reports and notebooks."""

from fervid.figures.drawing import save
from fervid.figures.faces import contact_sheet, pairs, sample_predictions
from fervid.figures.heat_maps import explained_faces, mean_heat_maps, overlay
from fervid.figures.moments import explained_clip, mean_relevance
from fervid.figures.parts import affect_scatter, draw_part, unit_bars
from fervid.figures.scores import reliability_diagram, risk_coverage, score_intervals, subject_scores
from fervid.figures.sounds import spectrogram_picture, spectrograms
from fervid.figures.timelines import timeline, window_timeline
from fervid.figures.training import confusion_matrix, curves

__all__ = [
    "affect_scatter",
    "confusion_matrix",
    "contact_sheet",
    "curves",
    "draw_part",
    "explained_clip",
    "explained_faces",
    "mean_heat_maps",
    "mean_relevance",
    "overlay",
    "pairs",
    "reliability_diagram",
    "risk_coverage",
    "sample_predictions",
    "save",
    "score_intervals",
    "spectrogram_picture",
    "spectrograms",
    "subject_scores",
    "timeline",
    "unit_bars",
    "window_timeline",
]

"""Scores, calibration, confidence intervals and paired tests."""

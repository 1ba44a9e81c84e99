"""Estimates how strongly an emotion is shown. Importing the package adds its section to the report."""

from fervid.report.report import SECTIONS
from intensity_task.sections import intensity_sections

SECTIONS["intensity"] = intensity_sections

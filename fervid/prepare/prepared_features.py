"""Placeholder until the branch with feature tables is merged."""

from fervid.prepare.prepared_folder import PreparedFolder


class FeatureSource(PreparedFolder):
    """Placeholder."""

"""Learning tasks, implemented as LightningModules."""

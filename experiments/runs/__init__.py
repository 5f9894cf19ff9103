"""Run folders, the names of checkpoints, and saved arrays."""

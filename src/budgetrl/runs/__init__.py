"""Run folders and everything recorded about a run: environment, metrics, progress, health."""

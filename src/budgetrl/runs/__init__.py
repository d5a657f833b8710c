"""Run folders and what happens around a run: provenance, tracking, progress, health."""

"""What the stages do: one module each, whose `run` reads top to bottom. Their settings are in `settings.stages`."""

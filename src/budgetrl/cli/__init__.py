"""The parent process: compose with Hydra, refuse or plan, launch, sweep."""

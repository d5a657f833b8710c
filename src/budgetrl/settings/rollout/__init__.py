"""The engines that generate completions: one module each, found by name. A class's fields are the engine's settings."""

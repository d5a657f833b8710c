"""Rollouts: engines that turn requests into completions, and the collector that turns problems into graded samples."""

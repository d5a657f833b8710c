"""Rollouts: engines that write completions, and the collector that turns them into outcomes."""

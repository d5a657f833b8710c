"""The parent: it starts the ranks of a frozen run, and ends them together."""

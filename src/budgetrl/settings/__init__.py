"""What conf/ says, typed and frozen."""

"""What a run will do, worked out before it starts: batch arithmetic, memory, warnings."""

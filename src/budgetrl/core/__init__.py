"""The lowest layer: records, messages, errors, seeds, schedules, and finding a class by its name."""

"""Ground floor: records that everything passes around, errors, seeds, schedules, and finding a class by name."""

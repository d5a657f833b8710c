"""Ground floor: the response formats, the records everything else passes around, and their metrics."""

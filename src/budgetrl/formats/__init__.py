"""Response formats: how a response is requested, pre-filled, parsed, taught, and explained. One file per format."""

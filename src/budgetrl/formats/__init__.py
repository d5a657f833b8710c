"""Response formats: how a response is asked for, pre-filled, parsed, taught and explained. One file each."""

"""Response formats: how a response is asked for, pre-filled, parsed and taught."""

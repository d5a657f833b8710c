"""One file per stage. A stage is a frozen dataclass: its fields are its configuration, `run` does the job."""

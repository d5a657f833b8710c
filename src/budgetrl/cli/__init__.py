"""The command line: composes and checks configurations with Hydra, prints plans, starts runs and sweeps."""

"""The `rollout` group: one module per engine, found by name. The fields of its class are the engine's settings."""

"""The ZeRO engine and the pure pieces of training: losses, advantages, batching, schedules."""

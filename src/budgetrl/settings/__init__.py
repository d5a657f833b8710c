"""The typed, frozen settings of every config group in conf/. Nothing here imports torch or transformers."""

"""The embedded tasks: their generators, tokenizer, model and checkpoints."""

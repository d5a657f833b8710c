"""The built-in generated tasks: problems, solutions, tokenizer, model and checkpoints."""

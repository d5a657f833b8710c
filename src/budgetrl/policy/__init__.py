"""Models and tokenizers: loading, prompts, reading completions, log-probabilities."""

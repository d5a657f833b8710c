"""From a response's text to an outcome, in one place with one version: parsed, verified, judged."""

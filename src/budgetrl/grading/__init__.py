"""From a response's text to an outcome: parse, verify, judge."""

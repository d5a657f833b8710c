"""One definition of each number: what it is called, how it is computed, and how sure we are of it."""

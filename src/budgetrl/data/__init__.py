"""Problems from JSONL files, Hub data sets and the built-in generated tasks, all read into one record."""

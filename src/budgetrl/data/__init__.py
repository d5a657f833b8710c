"""Problems: JSONL files, Hub data sets and the generated mini task, read into one record."""

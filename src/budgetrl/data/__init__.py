"""Problems: JSONL files, Hub data sets and the embedded tasks, read into one record."""

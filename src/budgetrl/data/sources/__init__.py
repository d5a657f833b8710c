"""Where problems come from: a module for each kind of source, named as `dataset.source` names it."""

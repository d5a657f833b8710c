"""budgetrl: train and measure language models that spend the right number of reasoning tokens."""

__version__ = "0.1.0"

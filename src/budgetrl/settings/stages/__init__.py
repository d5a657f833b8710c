"""The `stage` group: the settings of each stage, one module per stage, torch-free. `budgetrl.stages` executes them."""

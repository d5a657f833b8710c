"""The `stage` group: one module a stage, torch-free. `budgetrl.stages` has what executes them."""

"""Entry point of `python -m budgetrl`."""

from budgetrl.cli.main import main

if __name__ == "__main__":
    main()

"""Answer checking: exact for plain integers, math-verify in separate processes for everything else."""

from budgetrl.verify.pool import Verdict, Verifier

__all__ = ["Verdict", "Verifier"]

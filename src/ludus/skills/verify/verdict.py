"""The results of checks on one candidate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One named check."""

    name: str
    passed: bool
    detail: str
    """One sentence with the numbers; where it failed, with an example that an author can act on."""


@dataclass(frozen=True)
class Verification:
    """All checks that could be made, in their order."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(c.passed for c in self.checks)

    @property
    def failed(self) -> Check | None:
        """The first check that failed."""
        return next((c for c in self.checks if not c.passed), None)

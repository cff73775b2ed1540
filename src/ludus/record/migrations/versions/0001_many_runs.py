"""The tables of record version 2, before they had a revision."""

revision, down_revision = "0001", None


def upgrade() -> None:
    """A database without a revision has these tables."""

"""The last step and the last metric of a run are found without reading the rows that others have added since."""

from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    for table in (
        "metrics",
        "steps",
    ):  # in the order in which a step's rows are written, or each would wait for the other
        op.create_index(f"{table}_number", table, ["run_id", "number"])

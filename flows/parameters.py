"""The parameters of flows, as the UI's run form explains them. A name is all that ever is a parameter."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field


def described(text: str, **more: Any) -> Any:
    """A field whose description is kept: Prefect puts one from the flow's docstring over the field's own."""
    return Field(json_schema_extra={"description": text}, **more)


Station = Annotated[
    str,
    described("The station's name, as deployments/stations.yaml has it.", min_length=1, examples=["station-1"]),
]
Table = Annotated[
    str | None,
    described(
        "Only this table, by its name in deployments/stations.yaml. Left empty: all tables.", examples=["kafka_test"]
    ),
]
DryRun = Annotated[bool, described("Only show what would be done, as a plan; nothing is written.")]
Approve = Annotated[
    bool,
    described(
        "Show the plan first, and wait: the run is suspended with the plan as its artifact, until somebody resumes it "
        "here (within a day) or cancels it. Nothing is written before."
    ),
]

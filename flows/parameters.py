"""The parameters of flows, as the UI's run form explains them. A name is all that ever is a parameter."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

# In `json_schema_extra`, because Prefect puts a description from the flow's docstring over the field's own.
Station = Annotated[
    str,
    Field(
        min_length=1,
        examples=["station-1"],
        json_schema_extra={"description": "The station's name, as deployments/stations.yaml has it."},
    ),
]
Table = Annotated[
    str | None,
    Field(
        examples=["kafka_test"],
        json_schema_extra={
            "description": "Only this table, by its name in deployments/stations.yaml. Left empty: all tables."
        },
    ),
]

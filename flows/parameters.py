"""The parameters of flows, as the UI's run form explains them. A name is all that ever is a parameter."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Station = Annotated[
    str,
    Field(
        title="Station",
        description="The station's name, as deployments/stations.yaml has it.",
        min_length=1,
        examples=["station-1"],
    ),
]
Table = Annotated[
    str | None,
    Field(
        title="Table",
        description="Only this table, by its name in deployments/stations.yaml. Left empty: all tables of the station.",
        examples=["kafka_test"],
    ),
]

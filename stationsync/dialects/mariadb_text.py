"""CONVERT(x USING utf8mb4), which SQLAlchemy does not have."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction


class Utf8mb4(GenericFunction[Any]):
    """CONVERT(x USING utf8mb4)."""

    inherit_cache = True
    name = "utf8mb4"


@compiles(Utf8mb4)
def _convert(element: Utf8mb4, compiler: SQLCompiler, **options: Any) -> str:
    return f"CONVERT({compiler.process(element.clauses, **options)} USING utf8mb4)"

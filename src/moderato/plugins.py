"""A kind's name is its module's name: `encoders/onnx.py` is the runtime `onnx`. The one place that looks names up.

Modules whose names begin with an underscore are machinery and no plugins.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

from moderato.errors import MissingExtra, SettingsError, nearest

_EXTRAS = {
    "openvino": "openvino",
    "torch": "torch",
    "pyarrow": "evaluate",
    "opentelemetry": "traces",
    **dict.fromkeys(("alembic", "fastapi", "prometheus_client", "sqlalchemy", "uvicorn"), "server"),
}
"""Which of moderato's extras installs a package."""


@cache
def names(package: str) -> tuple[str, ...]:
    """The plugins in a package, sorted; none of them is imported."""
    found = pkgutil.iter_modules(import_module(package).__path__)
    return tuple(sorted(module.name for module in found if not module.name.startswith("_")))


def load(package: str, name: str) -> ModuleType:
    """Import the plugin `name` of a package.

    Raises `SettingsError` listing the known names, or `MissingExtra` naming what to install.
    """
    if name not in names(package):
        raise SettingsError(f"There is no '{name}' in {package}. {nearest(name, names(package))}")
    try:
        return import_module(f"{package}.{name}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("", "moderato"):
            raise MissingExtra(
                f"'{name}' needs the package '{missing}', which is not installed: {_install(missing)}"
            ) from error
        raise


def _install(package: str) -> str:
    """The line that installs a package: by the extra of moderato's that has it, if one does."""
    extra = _EXTRAS.get(package)
    return f"pip install 'moderato[{extra}]'" if extra else f"pip install {package}"


def modules(package: str) -> dict[str, ModuleType]:
    """All plugins of a package by name, imported."""
    return {name: load(package, name) for name in names(package)}

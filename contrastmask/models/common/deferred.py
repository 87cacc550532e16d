"""Libraries that a package imports and this project hardly ever uses are loaded at their first use instead.

mmdet registers everything it knows when it is imported, trackers, line detectors and plots among it, and those import
scikit-learn, SciPy, imgaug and matplotlib: more CPU time than PyTorch. Inside `with deferred(...)` an import of such a
library gives stand-ins. A name taken from one loads the library when it is called or looked into. Afterwards the
library's own name is free again: who imports it then gets the real one. mmdet itself is complete.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


@contextmanager
def deferred(*libraries: str) -> Iterator[None]:
    """While it is open, importing one of these modules, or what lies below it, gives stand-ins.

    Those that are loaded already stay as they are.
    """
    finder = _Finder([library for library in libraries if library not in sys.modules])
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for library in libraries:
            _forget(library)


class Deferred:
    """`name` of `module`, for those that hold it since an import which was deferred."""

    def __init__(self, module: str, name: str) -> None:
        self.__dict__.update(_module=module, _name=name)

    def _real(self) -> Any:
        """What is stood for. Errors of the import come here, those of the name as for any module."""
        _end(self._module)
        module = importlib.import_module(self._module)
        if not hasattr(module, self._name):  # a module below it that nobody has imported yet
            return importlib.import_module(f"{self._module}.{self._name}")
        return getattr(module, self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # pickle and inspect only look whether it is there
            raise AttributeError(name)
        return getattr(self._real(), name)


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> Any:
        taken = Deferred(self.__name__, name)
        if name in ("__all__", "__version__"):  # wanted at once
            return taken._real()
        if name.startswith("__"):
            raise AttributeError(name)
        return taken


class _Finder(MetaPathFinder, Loader):
    def __init__(self, libraries: list[str]) -> None:
        self.libraries = libraries

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        wanted = any(name == library or name.startswith(f"{library}.") for library in self.libraries)
        return ModuleSpec(name, self, is_package=True) if wanted else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def _end(module: str) -> None:
    """A stand-in that is used while its library is still deferred, as by a decorator, ends that for all of it."""
    for finder in (finder for finder in sys.meta_path if isinstance(finder, _Finder)):
        for library in [name for name in finder.libraries if f"{module}.".startswith(f"{name}.")]:
            finder.libraries.remove(library)
            _forget(library)


def _forget(library: str) -> None:
    """Take the stand-ins of a library out of Python's sight; real modules stay."""
    for name in [name for name in list(sys.modules) if f"{name}.".startswith(f"{library}.")]:
        if isinstance(sys.modules[name], _StandIn):
            del sys.modules[name]
            parent, _, child = name.rpartition(".")
            if isinstance(vars(sys.modules.get(parent, _StandIn(""))).get(child), _StandIn):
                delattr(sys.modules[parent], child)

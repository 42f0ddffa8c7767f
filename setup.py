"""The compiled parts, extract's HTML reader and the language detector; all else is pyproject's."""

from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

setup(
    ext_modules=[
        Pybind11Extension(
            "tasks.extract._native",
            ["tasks/extract/native/module.cpp"],
            depends=sorted(map(str, Path("tasks/extract/native").glob("*.hpp"))),
            cxx_std=17,
            extra_compile_args=["-O3"],
        ),
        Pybind11Extension(
            "tasks.common._language",
            ["tasks/common/native/language.cpp"],
            depends=["tasks/common/native/language.hpp"],
            cxx_std=17,
            extra_compile_args=["-O3"],
        ),
    ]
)

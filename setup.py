"""The compiled part of the package, the HTML reader of extract; all else is pyproject's."""

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
        )
    ]
)

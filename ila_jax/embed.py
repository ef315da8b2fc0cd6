"""Unit-norm sentence embeddings of the prompts (Section 2.4).

Three ways, by `config.encoder.path`: a BERT-family encoder folder, `base`
(the base model's hidden states, mean over the prompt) and `lsa` (TF-IDF and
truncated SVD), which needs no weights. A prompt is what the user asked
(`conversation.request`), as far as `encoder_inputs` reads it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree

from ila_jax import batching, errors, forward, layouts
from ila_jax.models import encoder as encoder_lib

# LSA learns its vocabulary and axes from at most this many prompts.
LSA_FIT_EXAMPLES = 50_000
LSA_MAX_FEATURES = 50_000
# Words; but scripts that put no spaces between words go character by character.
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TERM = rf"(?u)[{_CJK}]|[^\W{_CJK}]+"


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def batch_embeddings(
  graphdef: nnx.GraphDef,
  pooling: str,
  segments: int,
  params: PyTree,
  batch: dict[str, Array],
) -> Float[Array, "b s d"]:
  """Embeddings of the texts of a batch: unit norm, float32.

  Args:
    graphdef: structure of an `Encoder` or a `Decoder`.
    pooling: `cls` or `mean`.
    segments: s, the texts that a row has room for.
    params: weights.
    batch: of `batching.collate`.

  Returns:
    Column s is segment s + 1; zeros where a row has fewer texts.
  """
  positions, segment_ids = batch["positions"], batch["segment_ids"]
  model = nnx.merge(graphdef, params)
  hidden = model.hidden(batch["tokens"], positions, segment_ids)
  return encoder_lib.pool(
    hidden, segment_ids, positions, pooling, num_segments=segments
  )


def encode(
  model: nnx.Module,
  tokens: Sequence[Int[np.ndarray, " _"]],
  *,
  pooling: str,
  layout: layouts.Layout,
  mesh: Mesh,
  on_batch: Callable[[batching.Batch], None] = lambda batch: None,
) -> Float[np.ndarray, "n d"]:
  """Embeds token lists under an encoder, or under a decoder by its mean.

  Args:
    model: an `Encoder` or a `Decoder`.
    tokens: int32 ids of each prompt, special tokens included.
    pooling: `cls` or `mean`, as the encoder was made for.
    layout: of the pool that the prompts are from.
    mesh: the devices; a batch is split over `data` and `fsdp`.
    on_batch: called with each batch when it is finished.

  Returns:
    Unit-norm float32 embeddings, in the order given.

  Raises:
    errors.InputError: a text that is longer than the encoder's positions.
  """
  if isinstance(model, encoder_lib.Encoder):
    longest = max((len(ids) for ids in tokens), default=0)
    encoder_lib.check_length(model.config, longest)
  graphdef, params = nnx.split(model)
  step = functools.partial(
    batch_embeddings, graphdef, pooling, layout.segments, params
  )
  return forward.map_examples(
    step,
    tokens,
    [np.zeros(len(ids), np.bool_) for ids in tokens],
    width=model.config.width,
    layout=layout,
    mesh=mesh,
    on_batch=on_batch,
  )


def fit_lsa(texts: Sequence[str], *, width: int, seed: int) -> Any:
  """Fits TF-IDF and truncated SVD (scikit-learn) to prompts.

  Words and word pairs; where the prompts have fewer terms than `width`, the
  embeddings have as many columns as the prompts bear.

  Args:
    texts: prompts; `LSA_FIT_EXAMPLES` are plenty.
    width: columns of the embeddings, d.
    seed: of the randomized SVD.

  Returns:
    A fitted scikit-learn pipeline; give it to `apply_lsa`.

  Raises:
    errors.InputError: fewer than two different terms or two prompts.

  >>> lsa = fit_lsa(["a red fox", "a red dog", "blue sky"], width=2, seed=0)
  >>> apply_lsa(lsa, lsa_terms(lsa, ["a red fox"])).shape
  (1, 2)
  """
  from sklearn.decomposition import TruncatedSVD
  from sklearn.feature_extraction.text import TfidfVectorizer
  from sklearn.pipeline import make_pipeline

  tfidf = TfidfVectorizer(
    ngram_range=(1, 2),
    max_features=LSA_MAX_FEATURES,
    min_df=2 if len(texts) >= 1000 else 1,
    sublinear_tf=True,
    token_pattern=_TERM,
    dtype=np.float32,
  )
  try:
    terms = tfidf.fit_transform(texts)
  except ValueError as error:  # No prompt has a word.
    raise _too_little(len(texts), 0) from error
  if min(terms.shape) < 2:
    raise _too_little(*terms.shape)
  svd = TruncatedSVD(
    min(width, terms.shape[0] - 1, terms.shape[1] - 1), random_state=seed
  )
  # Shares of the variance, which nobody reads, are 0/0 where all are alike.
  with np.errstate(invalid="ignore"):
    svd.fit(terms)
  return make_pipeline(tfidf, svd)


def _too_little(prompts: int, terms: int) -> errors.InputError:
  return errors.InputError(
    f"config.encoder.path is 'lsa', and the pool has {prompts} prompts with "
    f"{terms} different terms; allowed: 2 or more of each. Give a larger "
    "config.pool.source, an encoder's folder, or more of the records: "
    "config.pool.fields.input, config.encoder.system=True."
  )


def lsa_terms(lsa: Any, texts: Sequence[str]) -> Any:
  """The weights of the terms that a fitted LSA knows: sparse [n, terms]."""
  return lsa[0].transform(texts)


def apply_lsa(lsa: Any, terms: Any) -> Float[np.ndarray, "n d"]:
  """Embeds prompts with a fitted LSA, by `lsa_terms`: unit norm, float32.

  A prompt without a known term has no direction; it gets the first axis, the
  common theme of the pool, rather than a vector of zeros.
  """
  vectors = lsa[1].transform(terms).astype(np.float32)
  norms = np.linalg.norm(vectors, axis=1, keepdims=True)
  vectors[norms[:, 0] == 0, 0] = 1.0
  return vectors / np.where(norms == 0, 1.0, norms)

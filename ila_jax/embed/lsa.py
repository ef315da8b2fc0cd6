"""Latent semantic analysis: embeddings of a pool by its own words, no model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ila_jax import errors

# LSA learns its vocabulary and axes from at most this many prompts.
LSA_FIT_EXAMPLES = 50_000
LSA_MAX_FEATURES = 50_000
# Words; but scripts that put no spaces between words go character by character.
CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TERM = rf"(?u)[{CJK}]|[^\W{CJK}]+"


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

  >>> from ila_jax.embed import encode
  >>> lsa = fit_lsa(["a red fox", "a red dog", "blue sky"], width=2, seed=0)
  >>> apply_lsa(lsa, encode.lsa_terms(lsa, ["a red fox"])).shape
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


def apply_lsa(lsa: Any, terms: Any) -> Float[np.ndarray, "n d"]:
  """Embeds prompts with a fitted LSA, by `lsa_terms`: unit norm, float32.

  A prompt without a known term has no direction; it gets the first axis, the
  common theme of the pool, rather than a vector of zeros.
  """
  vectors = lsa[1].transform(terms).astype(np.float32)
  norms = np.linalg.norm(vectors, axis=1, keepdims=True)
  vectors[norms[:, 0] == 0, 0] = 1.0
  return vectors / np.where(norms == 0, 1.0, norms)

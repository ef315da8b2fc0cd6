"""How much more random data a gain is worth."""

import numpy as np
from jaxtyping import Float


def multiplier(
  loss: Float[np.ndarray, " b"],
  curve: Float[np.ndarray, "b m"],
  multiples: Float[np.ndarray, " m"],
) -> Float[np.ndarray, " b"]:
  """The multiple of the budget at which random data reaches a loss.

  The curve is made to fall (each loss is at most the one before), and read
  between its points by straight lines in the logarithm of the multiple. Beyond
  its ends the answer is the end: at least, or at most, so much.

  Args:
    loss: of the arm, in each of b resamples.
    curve: of random, at each multiple.
    multiples: ascending, above 0 [m].

  >>> curve = np.array([[4.0, 3.0, 2.5]])
  >>> multiplier(np.array([2.75]), curve, np.array([0.5, 1.0, 2.0])).round(3)
  array([1.414])
  """
  falling = np.minimum.accumulate(curve, axis=1)
  at = np.log(multiples)
  # np.interp wants ascending x: the losses, the lowest first.
  found = [
    np.interp(one, line[::-1], at[::-1])
    for one, line in zip(loss, falling, strict=True)
  ]
  return np.exp(np.array(found))

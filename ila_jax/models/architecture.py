"""What a decoder is made of, in numbers, and what they cost."""

import dataclasses

from ila_jax import errors


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
  """Sizes of a decoder, and how it computes.

  Attributes:
    vocab: number of tokens v.
    layers: number of blocks.
    width: width of the residual stream d.
    heads: query heads of a block.
    kv_heads: key and value heads; divides `heads`.
    head_dim: width of a head; even, for the rotation works on pairs.
    mlp_width: hidden width of the gated MLP.
    rope_theta: base of the rotary frequencies.
    norm_eps: added to the mean square in RMS norms.
    qkv_bias: Qwen2 adds biases to query, key and value; Llama does not.
    tied: whether the output head is the embedding table.
    max_positions: positions that the model was made for.
    dtype: of activations and matrix products; softmax and norms are float32.
    param_dtype: of the weights as they are held.
    remat: recompute each block in the backward pass, to save memory.

  Raises:
    errors.InputError: sizes below 1, or that do not fit each other.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> DecoderConfig(**sizes, head_dim=5, mlp_width=16)
  Traceback (most recent call last):
  ila_jax.errors.InputError: decoder head_dim is 5; allowed: an even number...
  """

  vocab: int
  layers: int
  width: int
  heads: int
  kv_heads: int
  head_dim: int
  mlp_width: int
  rope_theta: float = 10000.0
  norm_eps: float = 1e-5
  qkv_bias: bool = False
  tied: bool = True
  max_positions: int = 2048
  dtype: str = "float32"
  param_dtype: str = "float32"
  remat: bool = False

  def __post_init__(self) -> None:
    """Checks that the sizes fit each other."""
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if field.type is int and value < 1:
        raise errors.InputError(
          f"decoder {field.name} is {value}; allowed: 1 or more."
        )
    if self.heads % self.kv_heads:
      raise errors.InputError(
        f"decoder kv_heads is {self.kv_heads}; allowed: a divisor of heads, "
        f"which is {self.heads}."
      )
    if self.head_dim % 2:
      raise errors.InputError(
        f"decoder head_dim is {self.head_dim}; allowed: an even number, for "
        "rotary positions turn pairs."
      )


def flops(
  config: DecoderConfig,
  *,
  tokens: int,
  attended: int,
  response_tokens: int,
) -> int:
  """FLOPs of the matrix products of a forward pass (a product-sum is 2).

  Args:
    config: sizes.
    tokens: tokens that pass the blocks.
    attended: pairs of a query and a key that it sees, over all tokens.
    response_tokens: tokens whose logits are computed.

  Returns:
    2·tokens·(weights of the blocks) + 4·attended·heads·head_dim·layers
    + 2·response_tokens·v·d. A backward pass costs twice as much again.

  >>> sizes = dict(vocab=32, layers=2, width=8, heads=2, kv_heads=1)
  >>> config = DecoderConfig(**sizes, head_dim=4, mlp_width=16)
  >>> flops(config, tokens=1, attended=1, response_tokens=1)
  2880
  """
  queries = config.heads * config.head_dim
  keys = config.kv_heads * config.head_dim
  block = config.width * (2 * queries + 2 * keys + 3 * config.mlp_width)
  per_layer = 2 * tokens * block + 4 * attended * queries
  head = 2 * response_tokens * config.vocab * config.width
  return config.layers * per_layer + head

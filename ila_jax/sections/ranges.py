"""Ranges: what the numbers of several fields may be.

The upper ends are beyond any use that is known: what lies above is a slip of
the keyboard, and would end in memory, hours later.
"""

# Examples: ten billion are more than any pool that is known.
EXAMPLES = {"low": 1, "high": 10**10}
EPOCHS = {"low": 0, "high": 10_000, "above": True}
LEARNING_RATE = {"low": 0, "high": 10, "above": True}
# A share that may be nothing, and a part that may not.
SHARE = {"low": 0, "high": 1}
PART = {"low": 0, "high": 1, "above": True}
# A program's shapes are whole numbers of 32 bits; a batch stays well below.
BATCH_TOKENS = {"low": 1, "high": 2**26}
# No model of these families reads more than a million tokens.
MAX_TOKENS = 2**20
DEVICES = {"low": 1, "high": 2**16}
SEED = {"low": 0, "high": 2**32 - 1}
INT32 = 2**31 - 1

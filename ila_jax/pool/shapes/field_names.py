"""Names of fields: prompts, the responses to each, and what stands beside."""

import functools
import re

from ila_jax.pool import unread

CHOSEN = ("chosen", "answers", "responses")
# Prompts, and the responses that each goes with: the first that is there. A
# solution stands before an answer, which may be no more than its last line.
RESPONSES = {
  "instruction": ("output", "response", "completion", "solution", "answer"),
  "prompt": ("completion", "response", "output", "solution", "answer"),
  "question": ("solution", "answer", "response", "output", "completion"),
  "query": ("response", "solution", "answer", "output", "completion"),
  "problem": ("solution", "answer", "response", "output", "completion"),
  "definition": ("targets", "target", "outputs", "output"),
  "inputs": ("targets", "target", "outputs", "output"),
  "input": ("output", "target", "response", "completion", "answer", "chosen"),
  "request": ("response", "answer", "output", "completion"),
  "user": ("assistant", "bot", "agent", "ai"),
  "human": ("assistant", "bot", "gpt", "ai"),
  "user_message": ("assistant_message", "bot_message", "ai_message"),
  "human_message": ("assistant_message", "bot_message", "ai_message"),
  "post": ("summary",),
  "document": ("summary",),
  "article": ("summary", "highlights"),
  "dialogue": ("summary",),
  "dialog": ("summary",),
  "text": ("code",),
}
# Names of other things as well: prompts where both are texts.
TEXTS = (
  *("source", "dialogue", "dialog", "text", "post", "document", "article"),
)
RESPONSES["question"] += ("answer_key",)
RESPONSES["prompt"] += ("canonical_solution",)
# An answer that is named as the right one, among others.
BEST = (
  *("correct_answer", "best_answer", "long_answer"),
  *("chosen_response", "best_response"),
)
for _name in ("instruction", "prompt", "question", "query", "problem"):
  RESPONSES[_name] += ("targets", "target", *CHOSEN, "completions", "summary")
  RESPONSES[_name] += BEST
RESPONSES["source"] = ("target",)
# What is preferred to what: both together are the answer, whatever else is one.
PREFERRED = {
  "chosen": "rejected",
  "chosen_response": "rejected_response",
  "preferred_output": "non_preferred_output",
}
# What goes on with a conversation that ends without an answer.
CONTINUED = (
  *("chosen", "chosen_response", "preferred_output", "completion", "response"),
  *("output", "solution", "answer", "target", "targets"),
  *("completions", "answers", "responses", "best_response", "best_answer"),
  "correct_answer",
)
SYSTEMS = ("system", "system_prompt", "system_message", "system_instruction")
TOOLS = ("tools", "functions")
HISTORIES = ("history", "chat_history", "conversation_history")
INPUTS = ("input", "inputs")
QUESTIONS = ("question", "query", "problem")
# Not `knowledge`: Magpie has under it what a model says of an instruction.
CONTEXTS = (
  *("context", "contexts", "passage", "passages", "document", "article"),
  *("paragraph", "paragraphs", "background", "support", "story", "premise"),
)
CHOICES = ("choices", "options", "endings")
# What may hold the answer where there are choices, and the prompts of such.
ANSWERS = ("answer", "answer_key")
INDICES = (
  *("cop", "answer_idx", "answer_index", "correct", "correct_idx"),
  *("correct_index", "correct_answer_idx", "correct_answer_index"),
  *("correct_answer_id", "gold", "label"),
)
for _name in ("ctx", "sentence", "stem", "goal"):
  RESPONSES[_name] = ()
# Names of fields of one kind: what they begin with, and a letter or a number.
CHOICE = re.compile(
  r"()([A-J])|(option|choice)_?([a-jA-J]|\d)|(op)([a-e])|(answer)([A-E])"
  r"|(sol)([12])"
)
# Answers to one prompt, in a field each.
ANSWER_WORDS = (
  "response|answer|completion|output|reply|candidate|generation|summary|"
  "solution"
)
ANSWER = re.compile(rf"({ANSWER_WORDS})_?(\d{{1,2}})|({ANSWER_WORDS})_([a-j])")
# Whatever may answer a conversation, by its name; counts and switches may not.
MAY_ANSWER = re.compile(
  r"(?!(?:n|num|max|min|total|is|has)_)(?:\w+_)?"
  rf"(?:(?:{ANSWER_WORDS}|chosen|preferred|target|ground_truth)s?"
  r"|replies|summaries|(?:assistant|bot|ai)_message)(?:_?\d{1,2}|_[a-j])?"
)
TURN = re.compile(r"(turn|message)_?(\d+)")


@functools.lru_cache(maxsize=4096)
def families(
  names: tuple[str, ...], pattern: re.Pattern[str]
) -> list[dict[str, str]]:
  """Fields of one kind: their names by letter or number, in its order.

  >>> families(("option_b", "option_a", "turn_1", "Option C"), CHOICE)
  [{'A': 'option_a', 'B': 'option_b', 'C': 'Option C'}]
  """
  found: dict[str, dict[str, str]] = {}
  for name in names:
    match = pattern.fullmatch(name) or pattern.fullmatch(
      unread.plain_name(name)
    )
    if match:
      kind, label = (part for part in match.groups() if part is not None)
      found.setdefault(kind.lower(), {}).setdefault(label.upper(), name)
  return [
    dict(sorted(kind.items(), key=lambda item: item[0].rjust(9)))
    for kind in found.values()
  ]

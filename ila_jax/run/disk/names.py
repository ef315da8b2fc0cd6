"""Names in the folder of a run, for all that write there or look at it."""

# Stages in their order; each has a folder of its name.
STAGES = (
  "pool",
  "embed",
  "score",
  "landscape",
  "select",
  "finetune",
  "scaling",
  "report",
)
MANIFEST = "manifest.json"
# The key of a manifest by which it is known as ours.
OURS = "ila_jax"
# In a stage's folder: what it was made from, and whether it is done.
RECORD = "stage.json"
# What a run has said, and what it is at.
LOG, PROGRESS = "log.txt", "progress.json"

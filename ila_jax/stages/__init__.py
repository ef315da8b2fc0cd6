"""One thin shell per stage: `run(config, workdir, mesh)` on files."""

"""What plans of stages are made with: sizes, trials, memory, a sample."""

"""Goal-directed curricula for sparse-reward reinforcement learning."""

"""Speed and memory, as ratios against a plain training loop in the same run."""

"""Mix: scored documents in; training and validation sets by group, and their weights, out."""

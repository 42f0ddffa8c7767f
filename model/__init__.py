"""The engine: tensors, token shards, checkpoints. It knows nothing of artifacts, flows or Prefect.

Read in this order: ``config`` → ``layers``, ``decoder`` → ``tokens``, ``chat``, ``loader`` →
``objectives``, ``optim`` → ``checkpoint``, ``trainer`` → ``launch`` (a job as a process) and
``process`` (the parent's end of it) → ``generate``, ``score`` (what a finished model is for).
"""

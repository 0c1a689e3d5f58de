"""MLflow: runs, stores, registered models; serving; prices of files.

- ``tracking``, ``reading``, ``store``, ``heartbeat``: runs and the store that keeps them;
- ``lineage``, ``versions``, ``champion``: registered models and which version is served;
- ``serving``: the file that MLflow loads; ``score``: prices for a file.
"""

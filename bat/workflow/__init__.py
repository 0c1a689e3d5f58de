"""How a study runs: what it consists of, where it is computed, what it found.

- ``preparation``, ``feasible``, ``spec``: the corpus, the sizes that fit it, what is to be done;
- ``graph``: all tasks of a study, listed once; ``tasks`` says what a task is, ``stages`` what it
  does;
- ``local``, ``cluster``: two ways to run tasks, neither of which knows what they are for;
- ``study``: arms and baselines read from finished tasks, and logged;
- ``plan``: what a study will cost;
- ``outcome``: what a study found, fresh or read back from its runs.
"""

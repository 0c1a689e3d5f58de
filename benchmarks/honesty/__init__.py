"""Do the program's claims hold? Simulated studies of real targets and errors, counted cell by cell.

BAT_CORPORA=folder python -m benchmarks.honesty [--toy] [--draws N] [--only WORDS]

A cell is a claim with a bound: how often intervals hold the truth, how often a verdict is wrong.
Each cell simulates ``draws`` studies (2,000 unless told; a part of them where each costs much) on
two processes. The table says how many a cell counted, what it measured, the bound, and whether it
holds. *Open* is outside the bound by less than the simulation can tell; *not claimed* is an aim
that is missed and that nothing in the program promises.

Populations are the corpora of ``BAT_CORPORA`` with out-of-fold predictions of TF-IDF + ridge, kept
in ``BAT_HOME``; without them, and with ``--toy``, the built-in corpus. A new family of cells is a
module with ``cells(corpora)`` and its name in ``__main__.MODULES``.

- ``cells``: what a cell is, how it is measured and printed;
- ``material``: populations, arms whose true gain is known, studies drawn from them;
- ``intervals``: paired intervals and bands over sizes cover the truth;
- ``verdicts``: wrong verdicts are rare, right ones frequent enough, and plans do;
- ``curves``: what is said about learning curves, in studies whose errors are drawn from a law;
- ``served``: promotions of no better models are rare, served intervals hold what they promise.
"""

"""Texts with prices: read, judged, checked, and given parts; the built-in corpus.

- ``sources``: files, hub data sets and the built-in corpus as rows, by one reader a format;
- ``texts``: what makes a text usable, and when two are the same;
- ``corpus``: a checked corpus, its groups and parts; ``subsets``: what is tuned on;
- ``chunks``: all rows of a source, to be scored;
- ``checks``: what could make a study's numbers untrue; ``leaks``: what in the texts could;
- ``auctions``: the built-in corpus, drawn from a known price law.
"""

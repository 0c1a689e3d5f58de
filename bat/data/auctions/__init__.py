"""The built-in corpus: car auctions drawn from a known price law.

- ``cars``: a car drawn, and its worth; ``generator``: texts, prices, the best score in reach;
- ``facts``: reads the tables of models, facts and phrases in this folder.
"""

"""From texts to prices: encoders, regressors, their search and the interval around a price.

- ``encoder``, ``encoder_files``: open an encoder, refuse a damaged one, embed texts;
- ``regressor``, ``search``: XGBoost on embeddings, tuned by Optuna;
- ``words``: weighted word counts, compressed or with a ridge regression;
- ``predictors``: the table of all ways to predict prices, how each is fitted, saved and loaded;
- ``interval``, ``pricer``, ``turns``: the range around a price; what is served; fair turns.
"""

"""A study, its predictor, its encoder and the estimator, from Python: python docs/example.py."""

import pandas as pd
from sentence_transformers import SentenceTransformer
from sklearn.model_selection import cross_val_score

import bat
from bat.data import corpus

# Any table with a text and a number a row; here 200 of the built-in auctions.
sales = corpus.load("auctions:200")
frame = pd.DataFrame({"description": sales.texts, "sold_for": sales.prices})

result = bat.study(
    frame, text="description", target="sold_for", name="sales", sizes="0", trials=3,
    baselines="ridge,words",
)  # fmt: skip
print(result.verdict)
print(result.table[["mae", "mae_low", "mae_high"]])
result.plot().savefig("sales.png")

new = pd.Series({"miata": "1990 Mazda Miata, 41k miles, five-speed, one owner"})
print(result.predictor.predict(new))
print(result.predictor.explain(new))

encoder = SentenceTransformer(result.encoder)
print(encoder.encode(list(new)).shape)

model = bat.TextRegressor(encoder=None, trials=3)
errors = -cross_val_score(
    model, frame["description"], frame["sold_for"], cv=2, scoring="neg_mean_absolute_error"
)
print(f"words and numbers, cross-validated MAE: {errors.mean():,.0f}")

"""Ways for an encoder to learn.

- ``objectives``: what is learnt, one module a way: masked words, and prices end to end;
- ``objective``: what the loop asks of each;
- ``loop``: the one training loop, and what several processes agree on;
- ``packing``: texts as full rows;
- ``masked_model``: the masked-language model around an encoder;
- ``precision``: float32 or bfloat16, by a measurement;
- ``model_card``: what a tuned encoder says of itself.
"""

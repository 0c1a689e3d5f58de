"""How much data is enough for fine-tuning a text embedder, and is it worth it at all?"""

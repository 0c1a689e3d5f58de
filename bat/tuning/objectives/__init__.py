"""What an encoder may learn: one module a way, each with its ``OBJECTIVE`` for ``bat.tuning.loop``.

``table`` lists them by name.
"""

"""What a study says: the answer as data, and the terminal, note, page and file that show it.

``verdict.statements(outcome)`` gives the answer as statements, ``wording.sentence`` the words of
one. Outsiders call ``terminal`` and ``page`` for what people read, ``runs`` for what a run keeps.
"""

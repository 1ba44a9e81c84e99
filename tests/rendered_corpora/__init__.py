"""Rendered faces in the folders, names, containers and annotation files of real corpora.

The corpora may not be redistributed, so their readers are tested with miniatures in the same layout, including its
irregularities. Every writer returns a table with one row per clip or picture, to compare with the result of a reader:
`path` relative to the root, `subject`, `emotion` in the spelling of the corpus, `sex`, and other columns of the corpus.
The same arguments write the same pictures. Benchmarks use the writers too.
"""

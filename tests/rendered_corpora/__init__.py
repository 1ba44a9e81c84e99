"""Rendered faces in the folders, names, containers and annotation files of real corpora.

The corpora may not be passed on, so their readers are shown miniatures with the same layout, oddities included. Every
writer returns a table of what it wrote, one row a clip or picture, to compare with what a reader finds: `path` relative
to the root, `subject`, `emotion` in the corpus's own word, `sex`, and what else the corpus knows. The same arguments
write the same pictures. Benchmarks use the writers too.
"""

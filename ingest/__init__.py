"""Turns files into passages and keeps a collection in step with them.

sources      which files there are
planning     which of them have to be read, and which are gone
parsing      a file -> Document: its text, title and places
chunking     Document -> spans of text, each inside the embedder's window
reading      both of them in a child process (worker) under limits
pipeline     all in order, one transaction a document; report says what was done
reembedding  the stored texts for another embedder
"""

"""Turns files into passages and keeps a collection in step with them.

sources   which files there are, and which changed
parsing   a file -> Document: its text, title and pages
chunking  Document -> spans of text, each inside the embedder's window
pipeline  all of them in order, one transaction a document
"""

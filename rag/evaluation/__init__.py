"""Many questions -> metrics. Data in, data out; nothing is drawn or printed here.

datasets, judged   files -> questions, and what is known of their answers and passages
collection         a set's own passages as a collection
asking             questions -> answers, several at once
metrics, rows      an answer -> what a run keeps of it -> means, with the intervals of `bootstrap`
run, sweep         a folder that goes on where it stopped: each question once, or at several temperatures
retrieval          questions -> ranks of the right passages
"""

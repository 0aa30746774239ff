"""The ways in for people and programs: the command `rag` and the web page. The only place that prints or draws."""

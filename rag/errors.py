"""Errors that a person can act on: every message is one sentence that says what happened and what to do.

    RagError
    ├── SettingsError      a setting, flag or settings file is wrong
    ├── InputError         a question, path or data file that cannot be used
    ├── ModelError         a model that is missing, damaged or not the one expected
    ├── CollectionError    a collection that is missing or damaged
    │   └── LockedError    another process is writing to it, or to a run
    ├── ParseError         a file that cannot be read as a document
    │   └── UnfinishedError    its reading was cut short; another attempt may succeed
    ├── PromptError        a prompt that cannot fit the model's context window
    └── GenerationError    the model or the controls give no token to go on with

Only `ui` turns them into output and exit codes.
"""


class RagError(Exception):
    """The parent of all expected errors."""


class SettingsError(RagError):
    """A setting, flag or settings file is wrong."""


class InputError(RagError):
    """A question, path or data file cannot be used."""


class ModelError(RagError):
    """A model is missing, damaged or not the one expected."""


class CollectionError(RagError):
    """A collection is missing or damaged."""


class LockedError(CollectionError):
    """Another process is writing to the collection or the run."""


class ParseError(RagError):
    """A file cannot be read as a document."""


class UnfinishedError(ParseError):
    """Reading a file was cut short by something that another attempt may not meet."""


class PromptError(RagError):
    """The prompt cannot fit the model's context window."""


class GenerationError(RagError):
    """The model or the controls give no token to go on with."""

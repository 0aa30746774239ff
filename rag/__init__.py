"""Openbook answers questions from a person's own documents and shows its work.

The pipeline, in the order of a question's way through it:

    models          a name -> a local folder
    embedding       question -> vector
    index           a collection on disk: catalogue, vectors, words
    retrieval       vector and words -> passages, best first
    prompting       question and passages -> token ids
    language_model  token ids -> logits (llama, linear, kv_cache)
    sampling        logits -> a token
    stopping        where the text of the tokens ends
    writing         one answer on its way, from these two
    generation      the loop over all of them: a stream of TokenSteps (drafting, scoring, beams)
    assistant       all of them in order: Assistant.ask(question) -> Answer
    contrast        answer -> what the documents changed, token by token (evidence)
    attribution     answer -> which passage, and which sentence in it, each part leans on
    evaluation      many questions -> metrics
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.assistant import Assistant, load_assistant

__all__ = ["Assistant", "load_assistant"]


def __getattr__(name: str) -> Any:
    """Import the assistant, and torch with it, only when it is asked for."""
    if name in __all__:
        from rag import assistant

        return getattr(assistant, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

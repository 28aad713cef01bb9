"""Random English sentences, so that the text is independent of the speaker."""

import numpy as np

# fmt: off
_WHO = (
    "my neighbour", "the old captain", "a young doctor", "her brother", "the whole village", "our teacher", "nobody",
    "the night watchman", "a tired farmer", "the prime minister", "his cousin", "every student", "the piano player",
    "a stranger", "the baker", "two engineers", "the museum guide", "a group of tourists", "the postman", "your aunt",
    "the football team", "an honest lawyer", "the gardener", "someone",
)
_DID = (
    "bought", "carefully painted", "forgot about", "was asking for", "never understood", "quickly repaired",
    "photographed", "wrote about", "wanted to sell", "borrowed", "described", "will be looking at", "laughed about",
    "could not find", "argued over", "has always loved", "carried away", "dreamed of", "might have stolen",
    "gave back", "measured", "tried to fix", "waited for", "threw out",
)
_WHAT = (
    "the yellow boat", "an enormous cheese", "seven wooden chairs", "the broken radio", "a letter from Vienna",
    "the church bells", "fourteen oranges", "a pair of shoes", "the long report", "cheap furniture",
    "that strange noise", "the blue window", "a good story", "his grandfather's watch", "the garden fence",
    "fresh coffee", "the history book", "a small white dog", "the winter coat", "thirty kilos of flour",
    "the joke about the judge", "a map of the city", "the evening train", "an unusual question",
)
_WHERE = (
    "near the river", "in the kitchen", "behind the school", "on the way to Cambridge", "under the bridge",
    "at the market", "beside an open fire", "between two houses", "in Australia", "at the edge of the forest",
    "outside the theatre", "on the roof", "across the street", "in a very small office", "by the harbour",
    "on the third floor", "above the valley", "in the waiting room",
)
_WHEN = (
    "last Thursday", "early in the morning", "during the summer", "before the rain came", "after a long discussion",
    "every day", "when the music stopped", "in nineteen eighty four", "without saying a word", "for about an hour",
    "just before midnight", "as soon as possible", "while the others slept", "on her birthday", "for the first time",
    "although it was forbidden", "in spite of the weather", "at half past nine",
)
# fmt: on


def sentence(rng: np.random.Generator) -> str:
    """Draw one of several million sentences of ten to twenty words.

    Example:
        >>> sentence(np.random.default_rng(0))
        'Every day, the football team has always loved a good story under the bridge.'
    """
    lists = (_WHO, _DID, _WHAT, _WHERE, _WHEN)
    who, did, what, where, when = (options[rng.integers(len(options))] for options in lists)
    parts = [who, did, what, where, when]
    if rng.random() < 0.4:
        parts = [when + ",", who, did, what, where]
    text = " ".join(parts)
    return text[0].upper() + text[1:] + ("?" if rng.random() < 0.1 else ".")

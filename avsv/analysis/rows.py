"""The rows of the tables of analyses, which the report reads without the packages that make them."""

from typing import NamedTuple


class Cost(NamedTuple):
    """The cost of a part of a system for one clip.

    Attributes:
        part: audio, visual, fusion or all.
        parameters: trained parameters, without classifiers.
        multiply_adds: multiply-adds of matrix products and convolutions.
        seconds: processor time on this machine with one thread.
    """

    part: str
    parameters: int
    multiply_adds: int
    seconds: float


class Averaging(NamedTuple):
    """How far a fusion is the average of the scores of voice and face: a row of averaging.csv.

    Attributes:
        utterances: number of utterances whose pairs are compared.
        correlation: of the cosines of the fused embeddings with the means of the cosines of the voice and of the face
            embeddings of the same system; 1 for a fusion that only averages.
        largest_difference: of the two.
    """

    utterances: int
    correlation: float
    largest_difference: float


class Agreement(NamedTuple):
    """How well the attention to one modality finds what is worth attending to: a row of worth.csv.

    Attributes:
        modality: audio or visual.
        utterances: number of utterances with moments of different worth.
        correlation, low, high: Spearman's rank correlation over time of the attention, averaged over channels, with the
            true worth: mean over speakers of the means over their utterances, and its 95 % interval.
        good_weight: weight of the frames with a worth above one half, over their share of all frames; 1 for the mean.
    """

    modality: str
    utterances: int
    correlation: float
    low: float
    high: float
    good_weight: float


class NullRepresentation(NamedTuple):
    """How a fusion represents a missing modality: a row of null.csv.

    Attributes:
        missing: audio or visual.
        utterances: number of utterances.
        distance, low, high: distance of the embedding without the modality from the mean over those with the modality
            of others, relative to the root of their mean squared distance from this mean; mean over speakers of the
            means over their utterances, and its 95 % interval. 0: the null representation is the mean embedding; 1: it
            is as far from the mean as an embedding with a true voice or face.
        angle: mean angle in degrees between the embedding without the modality and that mean.
    """

    missing: str
    utterances: int
    distance: float
    low: float
    high: float
    angle: float


class IdentityBox(NamedTuple):
    """The angles of one identity in the space of a system, in degrees: a row of identities.csv.

    Attributes:
        system, measure, identity: whose angles, and which of :data:`avsv.analysis.identities.MEASURES`.
        count: number of angles: of utterances with both modalities, or of pairs of utterances.
        p05, p25, median, p75, p95: their quantiles.
    """

    system: str
    measure: str
    identity: str
    count: int
    p05: float
    p25: float
    median: float
    p75: float
    p95: float

"""Auxiliary classification of gender."""

from torch import Tensor

from avsv.losses.trait import TraitClassifier


class GenderClassifier(TraitClassifier):
    """Auxiliary classification of gender as spk2gender has it; see :class:`avsv.losses.trait.TraitClassifier`.

    It is the control of :class:`avsv.losses.age.AgeClassifier`: another trait that the networks see anyway.

    Args:
        embedding_dim: size D of the embeddings.

    Shape:
        - embeddings: (B, D)
        - targets: (B,) 0 for f, 1 for m, NaN if the gender is unknown
        - output: the loss, a scalar, and the figures gender_loss and gender_accuracy

    Example (all scores 0 with 2 classes: ln 2):
        >>> import torch
        >>> classifier = GenderClassifier(4)
        >>> _ = torch.nn.init.zeros_(classifier.weight)
        >>> round(classifier(torch.randn(3, 4), torch.tensor([0.0, 1.0, float("nan")]))[0].item(), 4)
        0.6931
    """

    target = "gender"

    def __init__(self, embedding_dim: int) -> None:
        super().__init__(embedding_dim, 2)

    def classes(self, targets: Tensor) -> Tensor:
        """The class (B,) of each gender."""
        return targets.nan_to_num(nan=-1.0).long()

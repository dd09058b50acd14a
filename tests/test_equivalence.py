"""Every form of an answer is what plain sums over all logits say, in every situation of a language batch."""

import pytest
import torch
from equivalences import FORMS, KNOWN, SITUATIONS, TEMPERATURES, error, plain


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_value_and_gradient_are_those_of_plain_sums(situation: str, form: str) -> None:
    case = SITUATIONS[situation]()
    for temperature in TEMPERATURES:
        assert error(form, case, temperature) < 1e-12, temperature


def test_padding_changes_nothing_where_the_end_of_text_fills_up() -> None:
    """The end of each document is learnt, what fills up is not; the teacher's answers there are wild."""
    bare, filled = plain(), plain(padding=5)
    assert int(bare.batch.known.sum()) == int(filled.batch.known.sum())
    assert bool((filled.batch.labels[:, :9] == bare.batch.labels[:, :9]).all())
    assert bool((filled.batch.labels[:, 8] == 2).all()) and bool((filled.batch.labels[:, 9:] == -1).all())


def test_a_padded_row_of_the_head_gets_no_gradient_and_has_no_probability() -> None:
    """Cut off, not set to zero: a logit of 0 would have taken part of the probability, and learnt to."""
    case = SITUATIONS["padded student vocabulary"]()
    said = FORMS["dense"](case, 1.0)
    from equivalences import found

    found(case, said, 1.0).backward()
    network = case.model.network
    slope = network.head.weight.grad
    assert slope is not None
    assert len(slope) == KNOWN or not bool(slope[KNOWN:].any())
    assert bool(slope[:KNOWN].any(dim=1).all())
    assert torch.isfinite(slope).all()

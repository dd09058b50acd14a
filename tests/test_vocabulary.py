"""What two tokenizers share, of some that are small enough to count by hand."""

from small_speakers import tokenizer
from tokenizers.normalizers import Lowercase

from limbeck.languages.vocabulary import Overlap, fingerprint, overlap, vocabulary


def test_equal_tokenizers_are_equal_and_settings_of_a_call_do_not_matter() -> None:
    one, other = tokenizer(), tokenizer()
    other.backend_tokenizer.enable_padding(length=8)
    other.backend_tokenizer.enable_truncation(max_length=4)
    said = overlap(one, other)
    assert said == Overlap(90, 90, 90, 90, equal=True)
    assert fingerprint(one) == fingerprint(other)


def test_overlap_is_counted_by_number_and_by_text() -> None:
    # 4 special tokens and w0..w85 against 4 and w10..w65: the 56 words are known, each under another number.
    said = overlap(tokenizer(90), tokenizer(60, start=10))
    assert said == Overlap(theirs=90, ours=60, alike=4, shared=60, equal=False)


def test_the_same_words_with_other_rules_are_not_equal() -> None:
    other = tokenizer()
    other.backend_tokenizer.normalizer = Lowercase()
    assert overlap(tokenizer(), other) == Overlap(90, 90, 90, 90, equal=False)
    assert fingerprint(tokenizer()) != fingerprint(other)


def test_rows_that_no_text_is_made_of_have_names_of_their_own() -> None:
    names = vocabulary(tokenizer(), 93)
    assert names[:90] == vocabulary(tokenizer()) and names[90:] == ("[no token 90]", "[no token 91]", "[no token 92]")

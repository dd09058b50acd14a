"""How two language models fit: facts with numbers, of tokenizers small enough to count by hand."""

import pytest
from small_speakers import tokenizer

from limbeck.languages import pairs

# Both end every turn, the second with a system text that nobody asked for.
CHATTY = "{{ '<s>system w1</s>' }}{% for m in messages %}<s>{{ m['role'] }} {{ m['content'] }}</s>{% endfor %}"
OPEN = "{% for m in messages %}<s>{{ m['content'] }} {% endfor %}"


def test_equal_tokenizers_are_equal_and_settings_of_a_call_do_not_matter() -> None:
    one, other = tokenizer(), tokenizer()
    other.backend_tokenizer.enable_padding(length=8)
    other.backend_tokenizer.enable_truncation(max_length=4)
    said = pairs.overlap(one, other)
    assert said == pairs.Overlap(90, 90, 90, 90, equal=True)
    assert said.share_alike == said.share_known == 1


def test_overlap_is_counted_by_number_and_by_text() -> None:
    # 4 special tokens and w0..w85 against 4 and w10..w65: the 56 words are known, each under another number.
    said = pairs.overlap(tokenizer(90), tokenizer(60, start=10))
    assert (said.teacher, said.student, said.alike, said.shared, said.equal) == (90, 60, 4, 60, False)
    assert said.share_alike == pytest.approx(4 / 90) and said.share_known == 1
    assert pairs.overlap(tokenizer(60, start=10), tokenizer(90)).share_known == pytest.approx(60 / 90)


def test_the_same_words_with_other_rules_are_not_equal() -> None:
    from tokenizers.normalizers import Lowercase

    other = tokenizer()
    other.backend_tokenizer.normalizer = Lowercase()
    assert pairs.overlap(tokenizer(), other) == pairs.Overlap(90, 90, 90, 90, equal=False)


@pytest.mark.parametrize(("rows", "padded"), [(97, 7), (90, 0), (88, -2)])
def test_rows_beyond_the_tokens_are_counted(rows: int, padded: int) -> None:
    assert pairs.padding(tokenizer(), rows).padded == padded


def test_special_tokens_that_collide_and_differ_are_named() -> None:
    said = pairs.specials(tokenizer(), tokenizer(pad_token="</s>", bos_token="</s>"))
    assert said.teacher_collisions == ()
    assert said.student_collisions == (("bos", "eos"), ("bos", "pad"), ("eos", "pad"))
    assert said.different == ("bos", "pad")
    assert not said.teacher_begins and not said.student_begins


def test_a_tokenizer_that_begins_texts_by_itself_is_known() -> None:
    from tokenizers.processors import TemplateProcessing

    other = tokenizer()
    other.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    said = pairs.specials(tokenizer(), other)
    assert not said.teacher_begins and said.student_begins and said.different == ()


def test_contexts_are_held_against_the_longest_document() -> None:
    assert pairs.contexts(2048, 512, 513).too_long == ("student",)
    assert pairs.contexts(None, 512, 512).too_long == ()
    assert pairs.contexts(100, 50, 101).too_long == ("teacher", "student")


def test_templates_are_compared_by_what_they_write() -> None:
    talk = [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w3"}]
    same = pairs.templates(tokenizer(), tokenizer(), talk)
    assert same.same and same.difference == 0 and same.ends == (True, True)
    assert same.teacher == "<s>user w1 w2</s><s>assistant w3</s>"
    other = pairs.templates(tokenizer(), tokenizer(template=CHATTY), talk)
    # <s> system w1 </s> more.
    assert not other.same and other.difference == 4
    unended = pairs.templates(tokenizer(), tokenizer(template=OPEN))
    assert unended.ends == (True, False)
    none = pairs.templates(tokenizer(), tokenizer(template=None), talk)
    assert none.student is None and none.student_tokens == 0 and not none.same and none.ends == (True, False)


def test_a_template_that_refuses_a_conversation_says_none() -> None:
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}fine</s>"
    talk = [{"role": "system", "content": "w1"}]
    assert pairs.templates(tokenizer(), tokenizer(template=strict), talk).student is None
    assert pairs.templates(tokenizer(), tokenizer(template=strict)).student == "fine</s>"

"""What is learnt of prompts and messages, with tokenizers and templates as people have them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_languages import CHATML, MARKED, tokenizer

from limbeck.data.conversations import Template, checked
from limbeck.data.encoding import Encoded, Ends, completed, encoded, plain
from limbeck.errors import DataError
from limbeck.recipe import Tokens

LLAMA = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'] }} "
    "[/INST]{% else %}{{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
ENDLESS = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
# thoughts are shown in the last turn alone, as some reasoning models' templates do
FORGETFUL = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if loop.last and message['role'] == 'assistant' %}thinking: {% endif %}"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TALK = [
    {"role": "system", "content": "You know cats."},
    {"role": "user", "content": "What sat on the mat?"},
    {"role": "assistant", "content": "The cat sat on the mat."},
    {"role": "user", "content": "And by the door?"},
    {"role": "assistant", "content": "The dog."},
]
WORDS = st.text("acdehimnorst .?é€", min_size=1, max_size=20).filter(str.strip)


def said(tokens: Tokens | None = None, **more) -> Tokens:
    return Tokens(**{"tokenizer": "hf:small", "length": 64, **more})


def learnt(found: Encoded) -> list[int]:
    """The tokens that are learnt, read from how a document is kept."""
    return [int(token) for token in found.kept() if token >= 0]


def tokens_of(found: Encoded) -> list[int]:
    return [int(token) if token >= 0 else ~int(token) for token in found.kept()]


@pytest.mark.parametrize("template", [CHATML, MARKED])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("eos", ["<|im_end|>", "<|end|>"])
def test_the_assistant_s_turns_are_learnt_with_their_ends_and_nothing_else(template, bos, eos):
    found = tokenizer(bos=bos, eos=eos, template=template)
    assert found.pad_token_id == found.eos_token_id
    talk = next(Template(found, "small").encoded([TALK]))
    assert talk.tokens == found.apply_chat_template(TALK, tokenize=True, return_dict=True)["input_ids"]
    assert found.decode(learnt(talk)) == "The cat sat on the mat.<|im_end|>The dog.<|im_end|>"
    everything = next(Template(found, "small").encoded([TALK], "all"))
    assert everything.tokens == talk.tokens and learnt(everything) == talk.tokens


def test_growing_prefixes_give_the_mask_that_a_template_with_marks_gives():
    by_prefix, by_marks = (
        next(Template(tokenizer(template=template), "small").encoded([TALK])) for template in (CHATML, MARKED)
    )
    assert by_prefix.kept().tolist() == by_marks.kept().tolist()


@settings(deadline=None, max_examples=50)
@given(turns=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), system=st.none() | WORDS)
def test_every_turn_is_learnt_after_exactly_what_a_model_is_asked(turns, system):
    found = tokenizer(eos="<|im_end|>", template=CHATML)
    talk = [] if system is None else [{"role": "system", "content": system}]
    for question, answer in turns:
        talk += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    read = next(Template(found, "small").encoded([talk]))
    places = [place for place, message in enumerate(talk) if message["role"] == "assistant"]
    assert len(read.learnt) == len(places)
    for (first, after), place in zip(read.learnt, places, strict=True):
        asked = found.apply_chat_template(talk[:place], tokenize=True, add_generation_prompt=True, return_dict=True)
        assert read.tokens[:first] == asked["input_ids"]
        assert found.decode(read.tokens[first:after]) == talk[place]["content"] + "<|im_end|>"
        assert read.tokens[after - 1] == found.eos_token_id


def test_a_template_without_a_prompt_for_the_answer_and_one_that_begins_with_bos():
    found = tokenizer(bos=True, template=LLAMA)
    talk = next(Template(found, "small").encoded([TALK[1:]]))
    assert found.decode(learnt(talk)) == "The cat sat on the mat.<|end|>The dog.<|end|>"
    assert talk.tokens.count(found.bos_token_id) == 1 and talk.tokens[0] == found.bos_token_id


def test_templates_that_cannot_teach_are_refused():
    for template, message in (
        (None, "has no chat template, and the data is messages"),
        (ENDLESS, "does not end its turns"),
        (
            MARKED.replace("<|im_end|>{% endgen", "{% endgen").replace(
                "ration %}{% else", "ration %}<|im_end|>{% else"
            ),
            "inside {% generation %}",
        ),
        ("{{ raise_exception('only for tools') }}", "cannot write a question and its answer"),
    ):
        with pytest.raises(DataError) as caught:
            Template(tokenizer(template=template), "small")
        assert message in str(caught.value)


def test_a_template_that_writes_earlier_turns_anew_is_refused_where_there_are_several():
    template = Template(tokenizer(template=FORGETFUL), "small")
    why, one = template.encoded([TALK, TALK[:3]])
    assert isinstance(why, str) and "it writes earlier turns anew" in why
    assert template.tokenizer.decode(learnt(one)) == "thinking: The cat sat on the mat.<|im_end|>"


def test_a_token_that_runs_across_the_beginning_of_an_answer_is_refused():
    template = Template(tokenizer(template=ENDLESS.replace("\n{% endfor", "<|im_end|>{% endfor")), "small")
    # "assistant: " ends with a blank, which the first word of the answer would take to itself
    why = next(template.encoded([TALK[1:3]]))
    assert isinstance(why, str) and "a token runs across the boundary" in why


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "is no list of messages"),
        ([], "is no list of messages"),
        ("hello", "is no list of messages"),
        (["hello"], "without a role"),
        ([{"content": "hello"}], "without a role"),
        ([{"role": "user", "content": None}], "whose content is no text"),
        ([{"role": "user", "content": "hello"}], "no turn of the assistant"),
    ],
)
def test_what_is_no_conversation_says_why(value, message):
    assert message in checked(value)


def test_messages_of_a_table_lose_what_is_empty_and_old_data_sets_keep_lists_by_key():
    assert checked([{"role": "assistant", "content": "yes", "tool_calls": None}]) == [
        {"role": "assistant", "content": "yes"}
    ]
    assert checked({"role": ["user", "assistant"], "content": ["a", "b"]}) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    why = next(Template(tokenizer(), "small").encoded([[{"role": "assistant", "content": "yes"}]]))
    assert "begins with a turn of the assistant" in why


@settings(deadline=None, max_examples=60)
@given(prompt=WORDS, completion=WORDS, bos=st.booleans())
def test_a_prompt_has_the_tokens_it_has_alone_and_the_completion_ends(prompt, completion, bos):
    found = tokenizer(bos=bos)
    document = next(completed(found, [prompt], [completion], Ends.of(found, said()), "completions"))
    asked = found(prompt)["input_ids"]
    assert document.tokens[: len(asked)] == asked
    assert learnt(document) == document.tokens[len(asked) :]
    assert document.tokens[-1] == found.eos_token_id == found.pad_token_id
    text = found.decode(document.tokens)
    assert text == "<|begin|>" * bos + prompt + completion + "<|end|>"
    everything = next(completed(found, [prompt], [completion], Ends.of(found, said()), "all"))
    assert learnt(everything) == everything.tokens == document.tokens


def test_a_completion_goes_on_in_the_tokens_of_the_whole_where_it_can():
    found = tokenizer()
    ends = Ends.of(found, said())
    whole = next(encoded(found, ["The cat sat on the mat."]))
    assert next(completed(found, ["The cat sat"], [" on the mat."], ends, "all")).tokens == [*whole, found.eos_token_id]
    # "mat" is one token or two, and the prompt alone ends within it
    parted = next(completed(found, ["The cat sat on the ma"], ["t."], ends, "completions"))
    assert parted.tokens[: -1 - len(next(encoded(found, ["t."])))] == next(encoded(found, ["The cat sat on the ma"]))


def test_documents_begin_and_end_as_the_tokenizer_has_it_or_as_is_said_and_never_twice():
    for bos in (False, True):
        found = tokenizer(bos=bos)
        document = next(plain(found, ["The cat"], Ends.of(found, said())))
        assert document.tokens == [*found("The cat")["input_ids"], found.eos_token_id]
        assert learnt(document) == document.tokens
    found = tokenizer(bos=True)
    bare = next(encoded(found, ["The cat"]))
    assert next(plain(found, ["The cat"], Ends.of(found, said(bos=False, eos=False)))).tokens == bare
    already = next(plain(found, ["<|begin|>The cat<|end|>"], Ends.of(found, said())))
    assert already.tokens == [found.bos_token_id, *bare, found.eos_token_id]
    for key, made in (("bos", tokenizer()), ("eos", tokenizer(eos=None))):
        with pytest.raises(DataError, match=f"tokens.{key} is said"):
            Ends.of(made, said(**{key: True}))
        assert next(plain(made, ["The cat"], Ends.of(made, said()))).tokens[: len(bare)] == bare


def test_what_is_kept_ends_where_a_row_does():
    document = Encoded([5, 6, 7, 8], [(2, 4)])
    assert document.kept().tolist() == [~5, ~6, 7, 8]
    assert document.kept(3).tolist() == [~5, ~6, 7]
    assert document.kept().dtype == np.int32

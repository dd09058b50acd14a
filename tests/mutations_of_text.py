"""Planted bugs in how text becomes rows, most of them seen in other toolkits; `test_mutations.py` plants each."""

from mutations import Mutation

PACKED, TEXT, TALKS = "test_packing.py", "test_text.py", "test_conversations.py"

MUTATIONS_OF_TEXT = [
    Mutation(
        "the last token of a document has the next document's first one to learn",
        "data/documents.py",
        (("(number[:, 1:] == number[:, :-1]) & (number[:, 1:] > 0)", "(number[:, 1:] > 0)"),),
        PACKED,
        "every_token_of_every",
    ),
    Mutation(
        "the end of a text is taken for padding where the two are one token",
        "data/documents.py",
        (("(kept[:, 1:] >= 0)", "(kept[:, 1:] > 0)"),),
        TEXT,
        "usual_names",
    ),
    Mutation(
        "the first token of a completion is not learnt",
        "data/encoding.py",
        (('0 if learn == "all" else len(head)', '0 if learn == "all" else len(head) + 1'),),
        TALKS,
        "tokens_it_has_alone",
    ),
    Mutation(
        "a prompt has the tokens it has before its completion",
        "data/encoding.py",
        (("head = ends.before(prompt)", "head = ends.before(whole[: len(prompt)])"),),
        TALKS,
        "tokens_it_has_alone",
    ),
    Mutation(
        "a text that begins with BOS gets a second one",
        "data/encoding.py",
        (("self.begin is None or tokens[:1] == [self.begin]", "self.begin is None"),),
        TALKS,
        "never_twice",
    ),
    Mutation(
        "a turn is learnt without its end",
        "data/conversations.py",
        (("ends[-1] + 1 if ends", "ends[-1] if ends"),),
        TALKS,
        "with_their_ends",
    ),
    Mutation(
        "the header of an answer is learnt",
        "data/conversations.py",
        (("self._render(messages[:place], asked=True)", "self._render(messages[:place])"),),
        TALKS,
        "what_a_model_is_asked",
    ),
    Mutation(
        "a template that writes earlier turns anew is believed",
        "data/conversations.py",
        (("if whole[: len(before)] != before or whole[: len(until)] != until:", "if len(whole) < len(before):"),),
        TALKS,
        "anew",
    ),
    Mutation(
        "a template that does not end its turns is taken",
        "data/conversations.py",
        (("if not self.special & set(said):", "if not said:"),),
        TALKS,
        "cannot_teach",
    ),
    Mutation(
        "amounts are taken of the documents and again of the rows",
        "data/source.py",
        (("dict.fromkeys(asked), None, seed, kind)", "asked, None, seed, kind)"),),
        PACKED,
        "splits_once or no_document",
    ),
    Mutation(
        "prompts and padding count",
        "data/loader.py",
        (("counted(known, task.labels)", "counted(known, 'steps')"),),
        TEXT,
        "positions_that_are_learnt",
    ),
    Mutation(
        "the longest document is packed last",
        "data/packing.py",
        (('np.argsort(-sizes, kind="stable")', 'np.argsort(sizes, kind="stable")'),),
        PACKED,
        "fullest_row or fit_into_one",
    ),
    Mutation(
        "the last piece of a long document is lost",
        "data/packing.py",
        (("counts = -(-sizes // length)", "counts = np.maximum(1, sizes // length)"),),
        PACKED,
        "every_token_of_every",
    ),
    Mutation(
        "tokens are read from the page's beginning",
        "data/documents.py",
        (("numpy()[which, inside]", "numpy()[which, inside * 0]"),),
        TEXT,
        "outgrows_memory",
    ),
    Mutation(
        "the chat template is no part of what reads a text",
        "languages/vocabulary.py",
        ((", special, tokenizer.chat_template]", ", special]"),),
        TEXT,
        "another_reader",
    ),
    Mutation(
        "rows are compared, whatever documents lie in them",
        "examination/checks.py",
        (("contents(data.splits(), documents=names)", "contents(data.splits())"),),
        TEXT,
        "equal_documents",
    ),
]

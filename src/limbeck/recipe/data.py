"""The `data` of a recipe: which rows there are, how they are read, and how they are split."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from limbeck.recipe import spellings


class Strict(BaseModel):
    """A part of a recipe: unknown keys are errors, and nothing changes once it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Columns(Strict):
    """Which columns of a table, or arrays of a file, mean what.

    Attributes:
        inputs: What a model reads: one name (of an array, of a column of pictures or of file names) or several numeric
            columns, which become one row in this order. None: for a table, every numeric column that nothing else
            names. For text the column of texts, of prompts, or of messages; None finds "text", "prompt" beside
            "completion", or "messages".
        label: What the task learns: one name, or several for several quantities or 0/1 classes; for text the column of
            completions.
        rationale: The column of steps that stand between a prompt and its completion and are learnt as well; one of
            steps and completion may be empty in a row.
        group: Who or what a row comes from (person, patient, machine): splits keep each group together.
        time: When a row was taken: a number (seconds) or a date and time.
    """

    inputs: Annotated[tuple[str, ...], BeforeValidator(spellings.names)] = ()
    label: Annotated[tuple[str, ...], BeforeValidator(spellings.names)] = ()
    rationale: str | None = None
    group: str | None = None
    time: str | None = None


class Windows(Strict):
    """How a series is cut into rows. A window never crosses a gap, a group or a split.

    Attributes:
        steps: Readings in a window, 1 or more.
        stride: Readings from the start of one window to that of the next, 1 or more.
        every: Time between two readings, such as "5m" or "0.01s"; None takes the median time between neighbours.
        fill: So many missing readings in a row are interpolated (between their neighbours) in the inputs; a longer hole
            is a gap. Labels are never filled.
        horizon: Readings after the window that are to be forecast; 0 where each window has a label of its own.
        target: The input column to forecast; None where there is only one.
    """

    steps: int = Field(ge=1)
    stride: int = Field(default=1, ge=1)
    every: str | None = None
    fill: int = Field(default=0, ge=0)
    horizon: int = Field(default=0, ge=0)
    target: str | None = None


class Tokens(Strict):
    """How text becomes rows of tokens.

    A document is a text, a prompt with its completion, or a conversation; it is put into a split before rows are made.

    Attributes:
        tokenizer: `hf:PATH_OR_ID`, `gguf:PATH`, `smollm2`, or a run folder.
        length: Positions in a row, 2 or more.
        pack: Whether several documents may lie in a row. None sees another, and none has to say its first token.
        learn: "all" tokens, or those of "completions" (with messages, of the assistant's turns); None is completions
            where the data has them and all where it is plain text. Of a document longer than `length` the first is
            read where completions are learnt, because they would be parted from their prompts; else it is cut into
            pieces, each a document of its own.
        documents: Whether each text file is a document, or each paragraph in it, between blank lines.
        bos: Whether documents begin with the tokenizer's token for that; None where the tokenizer itself puts it there.
        eos: Whether documents end with the token for that; None where there is one. Messages begin and end as the
            tokenizer's chat template writes them.
    """

    tokenizer: str = Field(min_length=1)
    length: int = Field(ge=2)
    pack: bool = True
    learn: Literal["all", "completions"] | None = None
    documents: Literal["file", "paragraph"] = "file"
    bos: bool | None = None
    eos: bool | None = None


class DataSpec(Strict):
    """Which rows there are, how they are read and split, and which labels the student may see.

    Attributes:
        source: A known name ("digits"), a file or folder, `hf:NAME`, or `package.module:function`.
        path: Where a known set lies on this machine, relative to the current directory.
        columns: What the columns of a table mean.
        windows: How a series is cut into rows; None where every line of a table is a row.
        tokens: How text becomes rows of tokens; None where the rows are numbers.
        size: Pictures are brought to this height and width, 1 or more; None where they all have one size.
        unreadable: Share of the rows (0 up to, not including, 1) that may be unreadable; they are counted, listed and
            left out. A greater share stops the run.
        memory: Inputs larger than this ("2GB", "500MB") are read into a file beside the data's cache and mapped.
        valid: Share (0 to 1) or count of training rows for validation; None is the set's own split, else 10 %. With
            groups, a share or count of the groups, or a list of their names.
        test: The same for the test.
        split: "random" (in proportion to the labels), "groups" (no group in two splits) or "time" (the last rows are
            for the test, those before them for validation); None is "groups" where columns.group is said.
        labelled: How many training rows keep their labels, 0 or more; the others serve as unlabelled rows. None: all.
        omit: Names of classes whose rows leave the training split.
        seed: Seed of splits and of the choice of labelled rows, 0 or more; apart from the seed of training.
    """

    source: str = Field(min_length=1)
    path: Path | None = None
    columns: Columns = Columns()
    windows: Windows | None = None
    tokens: Tokens | None = None
    size: int | None = Field(default=None, ge=1)
    unreadable: float = Field(default=0.0, ge=0, lt=1)
    memory: spellings.Bytes = 2_000_000_000
    valid: spellings.Part = None
    test: spellings.Part = None
    split: Literal["random", "groups", "time"] | None = None
    labelled: int | None = Field(default=None, ge=0)
    omit: Annotated[tuple[str, ...], BeforeValidator(spellings.names)] = ()
    seed: int = Field(default=0, ge=0)

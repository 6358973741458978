"""The runner reads and writes texts as charseq does."""

from __future__ import annotations

import pytest
from exported_runs import MARKED, SOURCE, SPACED, WITH_FEATURES
from hypothesis import given
from hypothesis import strategies as st

from charseq.data.text.tokenizer import Tokenizer as Whole
from charseq.data.text.vocabulary import Vocabulary as WholeVocabulary
from charseq.export.runtime.text import Tokenizer, Vocabulary

TRICKY = st.text(
    st.sampled_from(
        "abké\u0301 한\u1112\u1161👩\u200d👧ﬁİΣ\u3000.'’‘\"-“”—,:3$(\t\u25cc\u02d0\u02c8"
    ),
    max_size=14,
)
CELLS = st.text(st.sampled_from("VN(),;PST "), max_size=12)
GRAPHEMES = WholeVocabulary("graphemes", "NFC", "NFD", ("a", "é", "👩\u200d👧"))
VOCABULARIES = (SOURCE, WITH_FEATURES, SPACED, MARKED, GRAPHEMES)


@pytest.mark.parametrize("whole", VOCABULARIES, ids=lambda whole: whole.kind)
@given(text=TRICKY, features=CELLS, ended=st.booleans(), backward=st.booleans())
def test_ids_are_those_of_the_vocabulary(
    whole: WholeVocabulary, text: str, features: str, ended: bool, backward: bool
) -> None:
    own = Vocabulary(whole.to_json())
    assert own.split(text) == whole.split(text)
    assert own.unknown(text, features) == whole.unknown(text, features)
    assert own.split_features(features) == whole.split_features(features)
    how = {"ended": ended, "backward": backward}
    ids = own.encode(text, features, **how)
    assert ids == whole.encode(text, features, **how)
    assert own.decode(ids) == whole.decode(ids)


@pytest.mark.parametrize("case", ["keep", "lower"])
@pytest.mark.parametrize("punctuation", ["keep", "split"])
@given(text=TRICKY, word=TRICKY)
def test_words_are_those_of_the_tokenizer(
    case: str, punctuation: str, text: str, word: str
) -> None:
    whole = Whole(WholeVocabulary("spaced", "NFKC", "NFC", ("ab", ".")), case, punctuation)
    own = Tokenizer(whole.to_json())
    assert own.words(text) == whole.words(text)
    assert own.encode(text) == whole.encode(text)
    assert own.unknown(text) == whole.unknown(text)
    words = whole.words(text)
    line = whole.join([*words, word])[len(whole.join(words)) :]
    assert own.append(text, word) == text.rstrip() + line

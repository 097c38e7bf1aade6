"""Names are folded alike, whichever way is taken."""

from serving.names import fold


def test_ascii_is_folded_at_once_as_character_by_character() -> None:
    ascii_ = "".join(map(chr, range(128)))
    assert fold(ascii_) == fold(ascii_ + "’")[:-1]

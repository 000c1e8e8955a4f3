from lsr_ext.progress import track_progress


def test_the_items_come_through(capsys):
    outer = track_progress(range(3), "outer", least=2)
    found = [(item, list(track_progress(iter("ab"), "inner", total=5, done=3))) for item in outer]
    assert found == [(item, ["a", "b"]) for item in range(3)]
    assert list(track_progress(iter(()), "unknown length")) == []
    assert capsys.readouterr() == ("", "")  # no terminal, no bar

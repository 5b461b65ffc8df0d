"""What a card says of where data came from, and what it does not."""

from __future__ import annotations

import pytest
from described import subject_of


@pytest.mark.parametrize(
    "word",
    [
        "/home/annika/photos",
        "~annika/photos",
        "file:///home/annika/photos",
        "File:/home/annika/photos",
        "{/home/annika,/srv}/x-{0..3}.tar",
        "{data,/home/annika}/x.tar",
        "{data,~annika}/x.tar",
        "s3://annika@bucket/x",
        "s3://annika@bucket",
        "annika@host",
        "~annika",
    ],
)
def test_nobodys_folders_are_named(word):
    subject = subject_of(["a"], [1], root=word, steps=[{"command": "evaluate", "options": {"run": word}}])
    assert subject.root is None
    assert "annika" not in str(subject.steps) and not any("annika" in one for one in subject.commands)


@pytest.mark.parametrize("word", ["photos", "data/{a,b}/x-{0..3}.tar", "s3://bucket/{a,b}.tar", "-", "../x"])
def test_what_names_nobody_stays(word):
    subject = subject_of(["a"], [1], root=word, steps=[{"command": "evaluate", "options": {"run": word}}])
    assert subject.root == word and subject.steps[0]["options"] == {"run": word}

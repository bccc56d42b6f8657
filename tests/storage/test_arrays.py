"""Dataclasses as arrays: a field is declared once, and what does not fit its declaration is refused."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
import pytest

from scgeoae.storage import from_arrays, to_arrays


@dataclass(frozen=True)
class Part:
    names: np.ndarray = field(metadata={"shape": ("k",), "dtype": str})
    votes: np.ndarray = field(metadata={"shape": (2, "k"), "dtype": np.uint8})


@dataclass(frozen=True)
class Entry:
    ranks: np.ndarray = field(metadata={"shape": ("m", "k"), "dtype": int})


@dataclass(frozen=True)
class Whole:
    values: np.ndarray = field(metadata={"shape": ("n", "k"), "positive": True})
    corner: tuple[float, float]
    number: int
    flag: bool
    share: float = field(metadata={"positive": True})
    text: str | None = None
    weight: np.ndarray | None = field(default=None, metadata={"shape": ("k",)})
    one: Part | None = None
    parts: dict[str, Entry] = field(default_factory=dict)


def ranks(m: int) -> np.ndarray:
    return np.arange(3 * m).reshape(m, 3)


def part(k: int) -> Part:
    return Part(np.array(list("abcdef")[:k], dtype=object), np.ones((2, k), dtype=np.uint8))


@pytest.fixture
def stored() -> dict:
    whole = Whole(
        np.ones((4, 3)),
        (0.5, 2.0),
        7,
        flag=True,
        share=0.1,
        text="x/y",
        weight=np.zeros(3),
        one=part(3),
        parts={"a/b": Entry(ranks(2)), "": Entry(ranks(5))},
    )
    return to_arrays(whole)


def test_round_trip(stored: dict) -> None:
    sizes = {"n": 4}
    back = from_arrays(Whole, copy.deepcopy(stored), sizes)
    assert sizes == {"n": 4, "k": 3}  # those of entries of a dictionary are their own
    assert (back.corner, back.number, back.flag, back.share, back.text) == ((0.5, 2.0), 7, True, 0.1, "x/y")
    assert [len(each.ranks) for each in back.parts.values()] == [2, 5]
    assert list(back.parts) == ["a/b", ""]
    np.testing.assert_array_equal(back.values, np.ones((4, 3)))
    np.testing.assert_array_equal(back.one.names, part(3).names)


def test_what_is_none_is_left_out() -> None:
    stored = to_arrays(Whole(np.ones((1, 1)), (0.0, 1.0), 0, flag=False, share=1.0))
    assert "text" not in stored
    back = from_arrays(Whole, {name: value for name, value in stored.items() if name != "parts"}, {})
    assert back.one is back.weight is back.text is None
    assert back.parts == {}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("values", np.ones((5, 3)), r"values has shape \(5, 3\), not \(4, 3\)"),
        ("values", np.ones(4), r"values has shape \(4,\), not \(4, 'k'\)"),
        ("values", np.zeros((4, 3)), "values is not positive"),
        ("values", np.full((4, 3), np.inf), "values is not made of finite numbers"),
        ("values", np.ones((4, 3), dtype=complex), "finite numbers"),
        ("values", None, "values is missing"),
        ("weight", np.ones(2), "weight has shape"),
        ("corner", np.ones(3), "corner has shape"),
        ("number", 7.5, "number is not made of int"),
        ("number", True, "number is not made of int"),
        ("flag", 1, "flag is not made of bool"),
        ("share", "much", "share is not made of finite numbers"),
        ("share", 10**30, "share is not made of finite numbers"),
        ("share", 0.0, "share is not positive"),
        ("text", 5, "text is not a text"),
        ("one", {"names": part(3).names}, "one/votes is missing"),
        ("one", {"names": np.arange(3), "votes": part(3).votes}, "one/names is not made of names"),
        ("one", {"names": part(3).names, "votes": np.ones((2, 3))}, "one/votes is not made of uint8"),
        ("one", "nothing", "one is not made of entries"),
        (
            "parts",
            {"0": {"name": "a", "ranks": ranks(2).T}},
            r"parts/0/ranks has shape \(3, 2\), not \(3, 3\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(stored: dict, name: str, value: object, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        from_arrays(Whole, stored | {name: value}, {"n": 4})

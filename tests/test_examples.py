"""The examples of the docstrings: every public function has one, and it runs as it stands."""

from __future__ import annotations

import doctest
import inspect

import pytest

import scgeoae

FUNCTIONS = {
    f"{module.__name__}.{name}": function
    for module in (scgeoae.pp, scgeoae.tl, scgeoae.get, scgeoae.pl, scgeoae.metrics)
    for name in module.__all__
    if inspect.isfunction(function := getattr(module, name))
}
FUNCTIONS |= {"scgeoae.read_model": scgeoae.read_model, "scgeoae.write_model": scgeoae.write_model}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_example(name: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_doctest(inspect.getdoc(FUNCTIONS[name]) or "", {}, name, None, None)
    assert example.examples
    told: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=told.append)
    assert not told, "".join(told)

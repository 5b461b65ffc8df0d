from __future__ import annotations

import dataclasses
import sys
from typing import Literal

import pytest

from dprune_cli.core import registry
from dprune_cli.core.errors import UsageError
from dprune_cli.core.registry import Registry, convert, parameters

METHOD = """
from dataclasses import dataclass, field
from typing import Literal
from dprune_cli.core.info import MethodInfo

@{package}.TOYS.register
@dataclass(frozen=True, kw_only=True)
class Toy:
    info = MethodInfo(name="{name}", title="Toy", paper="none")
    by: str
    count: int = 3
    rate: float | None = None
    end: Literal["high", "low"] | None = None
    flag: bool = False
    state: int = field(default=0, init=False)
"""


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """A registry over a package of toy methods: `good`, and `wrong`, whose name is not its module's."""
    package = tmp_path / "toy_methods"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from dprune_cli.core.registry import Registry\nTOYS = Registry('toy', 'toy_methods')\n"
    )
    for module, name in (("good", "good"), ("wrong", "other")):
        text = "import toy_methods\n" + METHOD.format(package="toy_methods", name=name)
        (package / f"{module}.py").write_text(text)
    (package / "base.py").write_text("")
    (package / "_helper.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "dprune_cli" / "core" / "registry.py"))
    import toy_methods

    yield toy_methods.TOYS
    for name in [name for name in sys.modules if name.startswith("toy_methods")]:
        del sys.modules[name]


def test_names_are_the_public_modules_and_nothing_is_imported(toys):
    assert toys.names() == ["good", "wrong"]
    assert "toy_methods.good" not in sys.modules


def test_make_converts_every_parameter(toys):
    toy = toys.make("good:by=el2n,count=7,rate=0.5,end=low,flag=yes")
    assert parameters(toy) == {"by": "el2n", "count": 7, "rate": 0.5, "end": "low", "flag": True}
    assert parameters(toys.make("good: by = a ,rate=none")) == {
        "by": "a",
        "count": 3,
        "rate": None,
        "end": None,
        "flag": False,
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("goood:by=a", "no toy called 'goood'; try good"),
        ("good", "toy good needs by: write good:by=..."),
        ("good:by", "'by' is no parameter"),
        ("good:by=a,size=1", "no parameter 'size'; it has by, count, rate, end, flag"),
        ("good:by=a,state=1", "no parameter 'state'"),
        ("good:by=a,count=x", "count=x is no int"),
        ("good:by=a,rate=x", "rate=x is no float"),
        ("good:by=a,end=up", "end=up is none of high, low"),
        ("good:by=a,flag=maybe", "neither true nor false"),
    ],
)
def test_wrong_specs_are_usage_errors(toys, spec, message):
    with pytest.raises(UsageError, match=message):
        toys.make(spec)


def test_a_name_that_is_not_the_modules_is_refused(toys):
    with pytest.raises(ValueError, match=r"must live in toy_methods\.other"):
        toys.get("wrong")


def test_a_name_is_registered_once_and_for_dataclasses_only(toys):
    good = toys.get("good")
    assert toys.register(good) is good
    twin = type("Twin", (good,), {"__module__": "toy_methods.good"})
    with pytest.raises(ValueError, match="registered twice"):
        toys.register(twin)
    plain = type("Plain", (), {"__module__": "toy_methods.good", "info": good.info})
    with pytest.raises(TypeError, match="must be a dataclass"):
        toys.register(plain)


def test_convert_plain_types():
    assert convert("x", Literal[1, 2], "2") == 2
    assert convert("x", bool, "No") is False
    assert convert("x", float | None, "None") is None


def test_a_real_registry_lists_its_methods():
    names = Registry[object]("quota method", "dprune_cli.quotas").names()
    assert {"drop", "uniform"} <= set(names)
    assert "base" not in names and names == sorted(names)


def test_parameters_leave_state_out():
    @dataclasses.dataclass
    class Method:
        rate: float = 0.5
        seen: int = dataclasses.field(default=0, init=False)

    assert parameters(Method()) == {"rate": 0.5}

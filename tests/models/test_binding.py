"""What a task's input takes from the outputs of others, and what is left alone."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from planstore.errors import Fault
from planstore.models.binding import Unbound, bound, references
from planstore.models.fields import MAX_FAULTS

MUCH: Final = 1_000_000

OUTPUT: Final = {"b": {"c": [10, {"d": None}], "7": "seven", "": {"": "blank"}}, "n": 1.5}

FREE_JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)

BRACES: Final = st.text(alphabet="{}a.b p") | st.text(alphabet="{}a")
"""Texts that are mostly braces."""

NAMES: Final = (
    st.text(min_size=1)
    .filter(lambda name: "." not in name and "{{" not in name and "}}" not in name)
    .filter(lambda name: not name.startswith("{") and not name.endswith("}"))
    .filter(lambda name: name != "params")
)


def filled(value: Any, **outputs: Any) -> Any:
    return bound(value, outputs, max_bytes=MUCH)


def faults(value: Any, *, max_bytes: int = MUCH, **outputs: Any) -> list[tuple[str, str]]:
    """Return where the bindings are at fault, and why."""
    with pytest.raises(Unbound) as error:
        bound(value, outputs, max_bytes=max_bytes)
    return [(fault.pointer, fault.detail) for fault in error.value.faults]


def nested(depth: int, value: Any) -> Any:
    for _ in range(depth):
        value = {"in": [value]}
    return value


def unnested(depth: int, value: Any) -> Any:
    for _ in range(depth):
        value = value["in"][0]
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{a}}", OUTPUT),
        ("{{a.n}}", 1.5),
        ("{{a.b.c}}", [10, {"d": None}]),
        ("{{a.b.c.0}}", 10),
        ("{{a.b.c.1.d}}", None),
        ("{{a.b.7}}", "seven"),
        ("{{a.b.}}", {"": "blank"}),
        ("{{a.b..}}", "blank"),
    ],
)
def test_a_text_that_is_one_binding_becomes_the_value_at_its_path(text: str, value: Any) -> None:
    assert filled({"x": text}, a=OUTPUT) == {"x": value}


@given(value=FREE_JSON)
def test_a_whole_binding_gives_the_very_value(value: Any) -> None:
    assert bound(["{{a}}", "{{a}}"], {"a": value}, max_bytes=MUCH)[1] is value
    assert bound("{{a.b}}", {"a": {"b": value}}, max_bytes=MUCH) is value
    assert bound("{{a.0}}", {"a": [value]}, max_bytes=MUCH) is value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a \"quote\" & {'☃'}", "a \"quote\" & {'☃'}"),
        ("", ""),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        ({"k": [1, "☃", None]}, '{"k":[1,"☃",null]}'),
        ([], "[]"),
    ],
)
def test_within_a_longer_text_a_text_is_filled_in_as_it_is_and_all_else_as_json(
    value: Any, text: str
) -> None:
    assert filled("<{{a.b}}|{{a.b}}>", a={"b": value}) == f"<{text}|{text}>"
    assert filled(" {{a.b}}", a={"b": value}) == f" {text}"
    assert filled("{{a.b}}\n", a={"b": value}) == f"{text}\n"


def test_two_bindings_side_by_side_make_a_text() -> None:
    assert filled("{{a}}{{b}}", a=1, b=2) == "12"


def test_texts_are_filled_in_at_any_depth_and_nothing_else_changes() -> None:
    value = {"x": [1, {"y": "{{a.b}}"}, None, "no"], "z": True, "{{a.b}}": 2.5}
    before = deepcopy(value)

    assert filled(value, a={"b": [0]}) == {
        "x": [1, {"y": [0]}, None, "no"],
        "z": True,
        "{{a.b}}": 2.5,
    }
    assert value == before


def test_what_is_filled_in_is_not_looked_through_again() -> None:
    outputs = {"a": {"t": "{{b}}", "open": "{{", "o": {"t": "{{b}}"}}, "b": "wrong"}

    assert filled(["{{a.t}}", "{{a.o}}"], **outputs) == ["{{b}}", {"t": "{{b}}"}]
    assert filled("x {{a.t}}", **outputs) == "x {{b}}"
    assert filled("{{a.open}}b}}", **outputs) == "{{b}}"


PLAIN: Final = [
    *("{{taskId}}", "{{#if x}}y{{/if}}", "${{ secrets.X }}", "{{.Values.a}}", "{{}}", "{{.}}"),
    *("{{ a.b }}", "{{a .b}}", "{{A.b}}", "{{aa.b}}", "{{a[0]}}", "{{\ta}}", "{{a\n}}"),
    *("{a.b}", "{{a.b}", "{a.b}}", "{ {a.b} }", "{{a.b} }", "}}a.b{{", "a.b"),
]


@pytest.mark.parametrize("text", PLAIN)
def test_double_braces_that_name_no_task_are_plain_text(text: str) -> None:
    assert filled([text], a={"b": 1}) == [text]
    assert filled(f"{text} {{{{a.b}}}} {text}", a={"b": 1}) == f"{text} 1 {text}"


@pytest.mark.parametrize("text", ["{{params}}", "{{params.x}}", "to {{params.x}}"])
def test_params_is_never_a_task(text: str) -> None:
    assert references([text]) == set()
    assert filled([text, "{{a}}"], params={"x": 1}, a=2) == [text, 2]


def test_parameters_is_a_name_like_any_other() -> None:
    assert filled("{{parameters.x}}", parameters={"x": 1}) == 1


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{x {{a.b}}", "{{x V"),
        ("{{x {{a.b}} y}}", "{{x V y}}"),
        ("{{{a.b}}}", "{V}"),
        ("{{{{a.b}}}}", "{{V}}"),
        (r"\section{{{a.b}}}", r"\section{V}"),
        ('{"x":{"y":{{a.b}}}}', '{"x":{"y":V}}'),
        ("}}{{a.b}}{{", "}}V{{"),
        ("}} {{a.b}", "}} {{a.b}"),
    ],
)
def test_a_closing_pair_belongs_to_the_last_opening_pair_before_it(text: str, result: str) -> None:
    assert filled(text, a={"b": "V"}) == result


@pytest.mark.parametrize("name", ["deploy {env}!", "a{b", "a}b", " a ", "☃", "$ref", "a/b~c", "0"])
def test_a_name_is_taken_to_the_letter(name: str) -> None:
    text = f"{{{{{name}.x}}}}"

    assert references({"k": text}) == {name}
    assert filled(text, **{name: {"x": 1}}) == 1
    assert filled(f"<{text}>", **{name: {"x": 1}}) == "<1>"


@given(name=NAMES, output=FREE_JSON)
def test_any_name_without_dots_and_pairs_of_braces_can_be_bound(name: str, output: Any) -> None:
    text = f"{{{{{name}}}}}"

    assert references([text]) == {name}
    assert bound([text], {name: output}, max_bytes=MUCH) == [output]


def test_a_name_with_a_dot_can_not_be_bound() -> None:
    assert references("{{v1.2.x}}") == {"v1"}
    assert filled("{{v1.2.x}}", **{"v1.2": {"x": 1}}) == "{{v1.2.x}}"


def test_references_are_all_names_in_double_braces_in_any_text() -> None:
    value = {
        "x": ["{{a.b}} and {{c}}", {"y": "{{x {{d.e}}"}, 7, None],
        "z": "${{ secrets.X }}",
        "{{key.k}}": "{{a.c}}",
    }

    assert references(value) == {"a", "c", "d", " secrets"}


@given(value=FREE_JSON.filter(lambda value: "{{" not in json.dumps(value)))
def test_a_value_without_double_braces_is_left_alone(value: Any) -> None:
    assert references(value) == set()
    assert bound(value, {"a": 1, "": 2}, max_bytes=0) is value


@given(text=BRACES)
@example("{{{a}}}")
def test_a_value_that_names_no_task_is_left_alone(text: str) -> None:
    value = {"k": [text]}

    assert bound(value, {}, max_bytes=0) is value
    assert bound(value, {"other": 1}, max_bytes=0) is value
    assert filled([text, "{{other}}"], other=1) == [text, 1]


@given(text=BRACES)
def test_a_text_changes_exactly_if_it_refers_to_a_task(text: str) -> None:
    output = {"b": "V", "": "V"}
    try:
        is_changed = bound(text, {"a": output}, max_bytes=MUCH) != text
    except Unbound:
        is_changed = True

    assert is_changed == ("a" in references(text))


def test_a_path_that_is_not_there_is_named_with_what_is() -> None:
    output = {"x": 1, "y": {"z": [5, 6], "t": "text"}}

    assert faults({"in": ["{{a.b.c}}"]}, a=output) == [
        ("/in/0", "{{a.b.c}}: the output of 'a' has no 'b'; it has: x, y")
    ]
    assert faults("{{a.y.t.u}}", a=output) == [
        ("", "{{a.y.t.u}}: 'y.t' in the output of 'a' has no 'u'; it is a text")
    ]


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ({}, "it is an empty object"),
        ({"B": 1}, "it has: B"),
        ([], "it is an empty list"),
        (["b"], "it is a list with the indexes 0 to 0"),
        ("b", "it is a text"),
        (7, "it is a number"),
        (1.5, "it is a number"),
        (False, "it is false"),
        (None, "it is null"),
    ],
)
def test_whatever_is_there_instead_is_said(output: Any, what: str) -> None:
    assert faults("{{a.b}}", a=output) == [
        ("", f"{{{{a.b}}}}: the output of 'a' has no 'b'; {what}")
    ]


def test_an_output_that_is_null_can_be_taken_whole() -> None:
    assert filled(["{{a}}", "<{{a}}>"], a=None) == [None, "<null>"]


@pytest.mark.parametrize(
    "part",
    ["2", "-1", "00", "01", "+1", " 1", "1 ", "1\n", "1_0", "", "x", "\u0661", "9" * 5_000],
)
def test_an_index_is_a_whole_number_within_the_list(part: str) -> None:
    ((_, detail),) = faults([f"{{{{a.{part}}}}}"], a=[10, 11])

    assert detail.endswith("; it is a list with the indexes 0 to 1")


def test_digits_are_a_key_where_an_object_is() -> None:
    assert filled("{{a.01.1}}", a={"01": ["x", "y"]}) == "y"


def test_all_paths_that_are_not_there_are_named_at_once_in_order() -> None:
    value = {
        "p": "{{a.x}}",
        "q/~": ["{{a.here}}", "{{a.y}} {{b.z}}"],
        "r": "{{other.x}} {{ a.x }}",
    }

    assert [(at, detail.partition(":")[0]) for at, detail in faults(value, a={"here": 1}, b=0)] == [
        ("/p", "{{a.x}}"),
        ("/q~1~0/1", "{{a.y}}"),
        ("/q~1~0/1", "{{b.z}}"),
    ]


def test_no_more_faults_are_named_than_are_worth_reading() -> None:
    assert len(faults("{{a.x}}" * (MAX_FAULTS + 1), a={})) == MAX_FAULTS


def test_a_fault_is_short_however_large_input_and_output_are() -> None:
    key = "k" * 100_000
    output = {"in": {f"{key}{index}": index for index in range(8)}}

    ((pointer, detail),) = faults({key: f"{{{{a.in.{key}}}}}"}, a=output)

    assert len(pointer) < 100
    assert len(detail) < 1_000
    assert detail.endswith("… and 3 more")


def test_an_error_says_what_its_first_fault_says() -> None:
    first, second = Fault("/a", "it spilled"), Fault("/b", "it burnt")

    assert str(Unbound((first,))) == "it spilled"
    assert str(Unbound((first, second))) == "it spilled (and 1 more)"


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (["{{a.t}}"], len('"☃"'.encode())),
        (["<{{a.t}}>"], len("☃".encode())),
        (["{{a.o}}", "<{{a.o}}>"], 2 * len('{"k":1}')),
        (["{{a.t}}", {"x": "{{a.t}}{{a.t}} {{other}}"}], 5 + 3 + 3),
    ],
)
def test_what_is_filled_in_may_have_as_many_bytes_as_are_allowed(value: Any, size: int) -> None:
    outputs = {"a": {"t": "☃", "o": {"k": 1}}}

    bound(value, outputs, max_bytes=size)

    ((_, detail),) = faults(value, max_bytes=size - 1, **outputs)
    assert detail.endswith(f": with it more than {size - 1} bytes are filled in")


def test_a_small_input_can_not_blow_up() -> None:
    value = {"x": ["{{a.big}}" * 50_000, "{{a.none}}"], "y": ["{{a.big}}"] * 50_000}

    assert faults(value, a={"big": "x" * 400_000}, max_bytes=MUCH) == [
        ("/x/0", "{{a.big}}: with it more than 1000000 bytes are filled in"),
        ("/x/1", "{{a.none}}: the output of 'a' has no 'none'; it has: big"),
    ]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text",
    ["{{", "}}", "{{a", "a}}", "{", "}", "{a", "{{.", "{{ } ", "{{a}}", "{{x.y}}"],
)
def test_a_text_full_of_braces_is_looked_through_in_one_go(text: str) -> None:
    many = text * 200_000

    references(["{{", many, "}}"])
    assert filled([many, "{{b}}"], b=1) == [many, 1]


def test_deep_inputs_and_outputs_are_no_trouble() -> None:
    deep = nested(100, "{{a.in.0.in.0}}")

    assert references(deep) == {"a"}
    assert unnested(100, filled(deep, a=nested(100, "leaf"))) == nested(98, "leaf")
    ((pointer, _),) = faults(deep, a={})
    assert pointer == "/in/0" * 100

"""Chat templates render as in transformers, inside a sandbox."""

from __future__ import annotations

from datetime import datetime

import jinja2
import pytest

from backprop_core.datasets.template import RENDER_ERRORS, ChatTemplate
from backprop_core.errors import DependencyError
from tests.unit.datasets.families import family

TURN = [{"role": "user", "content": "Hi"}]


def render(source: str, **options: object) -> str:
    template = ChatTemplate(source, {"bos_token": "<s>"}, now=lambda: datetime(2026, 3, 1))
    return template.render(TURN, options=options)


def test_line_ends_and_indents_of_blocks_are_trimmed():
    assert render("{% if true %}\n  {% if true %}\nx\n  {% endif %}\n{% endif %}\n") == "x\n"


def test_special_tokens_options_and_the_date_are_known():
    assert render("{{ bos_token }}{{ flag }}{{ strftime_now('%d %b %Y') }}", flag=1) == "<s>101 Mar 2026"


def test_loop_controls_are_known():
    assert render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "01"


def test_json_is_written_without_html_escapes_and_in_unicode():
    assert render("{{ {'a': '<ü>'} | tojson }}") == '{"a": "<ü>"}'


def test_json_can_be_indented():
    assert render("{{ {'a': 1} | tojson(indent=2) }}") == '{\n  "a": 1\n}'


def test_generation_blocks_report_their_characters():
    template = ChatTemplate("a{% generation %}bc{% endgeneration %}d{% generation %}e{% endgeneration %}", {})

    assert template.render_with_marks(TURN) == ("abcde", [(1, 3), (4, 5)])
    assert template.has_generation_marks


def test_the_word_generation_in_a_comment_is_no_mark():
    assert not ChatTemplate("{# {% generation %} #}x", {}).has_generation_marks


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ messages.append({}) }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ ('%s'.format_map.__self__).__class__.__mro__ }}",
    ],
)
def test_a_template_cannot_reach_python(source):
    with pytest.raises(RENDER_ERRORS):
        render(source)


def test_a_template_can_refuse():
    with pytest.raises(jinja2.TemplateError, match="no"):
        render("{{ raise_exception('no') }}")


def test_a_template_that_is_no_template_is_named_with_its_line():
    with pytest.raises(DependencyError) as caught:
        family("smollm2-135m", template="x\n{% for %}")

    assert caught.value.code == "DEP_MODEL_LOAD_FAILED"
    assert "(line 2)" in caught.value.message

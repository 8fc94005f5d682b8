"""Names, hosts, templates and Modelfiles: what may stand there and what never does."""

from __future__ import annotations

import pytest

from backprop_core.errors import ConfigError, InputError
from backprop_core.ollama import Recipe, modelfile, ollama_url, require_name
from backprop_core.ollama.modelfile import create_request
from backprop_core.ollama.templates import family_of, uses_own_template


@pytest.mark.parametrize(
    "name", ["my-model", "m", "a.b_c-d", "my-model:v2", "me/my-model", "me/my-model:Q4_K_M"]
)
def test_plain_names_pass(name):
    assert require_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "-h",
        "--help",
        "a b",
        "a;b",
        "x\n",
        "../m",
        "a" * 200,
        "",
        "A",
        "a/b/c",
        "a:b:c",
        "a:",
        "/a",
        "@file",
        "a:-x",
        "ä",
    ],
)
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="is no Ollama model name"):
        require_name(name)


def test_modelfile_holds_exactly_what_the_recipe_says():
    recipe = Recipe(context_tokens=4096, system="Be brief.", template="{{ .Prompt }}", stops=("<|im_end|>",))
    assert modelfile("my model.gguf", recipe, "lora.gguf") == (
        "FROM ./my model.gguf\n"
        "ADAPTER ./lora.gguf\n"
        "PARAMETER num_ctx 4096\n"
        'PARAMETER stop "<|im_end|>"\n'
        'TEMPLATE """{{ .Prompt }}"""\n'
        'SYSTEM """Be brief."""\n'
    )


def test_empty_recipe_names_the_file_alone():
    assert modelfile("m.gguf", Recipe()) == "FROM ./m.gguf\n"


def test_instructions_inside_a_system_prompt_stay_inside_its_quotation():
    text = modelfile("m.gguf", Recipe(system='Answer "yes".\nFROM /etc/passwd\nADAPTER x'))
    assert text == 'FROM ./m.gguf\nSYSTEM """Answer "yes".\nFROM /etc/passwd\nADAPTER x"""\n'


@pytest.mark.parametrize("system", ['a """\nFROM /etc/passwd', '"""', "a\0b"])
def test_system_prompt_that_would_end_its_quotation_is_refused(system):
    with pytest.raises(InputError, match="cannot be written into a Modelfile"):
        modelfile("m.gguf", Recipe(system=system))


@pytest.mark.parametrize("name", ["m.gguf\nFROM x.gguf", "../m.gguf", "/m.gguf", "m.bin", "-m.gguf", ".gguf"])
def test_file_names_that_are_not_plain_are_refused(name):
    with pytest.raises(InputError, match="cannot stand in a Modelfile"):
        modelfile(name, Recipe())


@pytest.mark.parametrize("stop", ['"', "a\nb", "", "x" * 65])
def test_stop_texts_that_break_a_line_are_refused(stop):
    with pytest.raises(InputError, match="as a stop text"):
        modelfile("m.gguf", Recipe(stops=(stop,)))


def test_request_carries_a_system_prompt_that_no_modelfile_could():
    body = create_request(
        "m", Recipe(2048, 'a """ b', "t", ("s",)), {"m.gguf": "sha256:1"}, {"a.gguf": "sha256:2"}
    )
    assert body == {
        "model": "m",
        "files": {"m.gguf": "sha256:1"},
        "adapters": {"a.gguf": "sha256:2"},
        "stream": True,
        "template": "t",
        "system": 'a """ b',
        "parameters": {"num_ctx": 2048, "stop": ["s"]},
    }


def test_request_of_an_empty_recipe_has_no_empty_fields():
    assert set(create_request("m", Recipe(), {"m.gguf": "sha256:1"})) == {"model", "files", "stream"}


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.30.0", True),
        ("0.32.15", True),
        ("1.0.0", True),
        ("0.29.9", False),
        ("0.5.7", False),
        ("", False),
        ("x", False),
    ],
)
def test_versions_that_render_the_files_own_template(version, expected):
    assert uses_own_template(version) is expected


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
            "chatml",
        ),
        ("<|start_header_id|>{{ role }}<|end_header_id|>\n\n{{ x }}<|eot_id|>", "llama3"),
        ("{{ bos_token }}[INST] {{ x }}[/INST] {{ y }}</s>", "mistral"),
        ("<|user|>{{ x }}<|end|><|assistant|>", "phi"),
    ],
)
def test_control_tokens_tell_the_prompt_format(template, name):
    assert family_of(template).name == name


def test_unknown_prompt_format_has_no_template():
    assert family_of("### Instruction: {{ x }}") is None


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        (":9000", "http://127.0.0.1:9000"),
        ("box", "http://box:11434"),
        ("http://box", "http://box:80"),
        ("https://box:444/", "https://box:444"),
        ("[::]:7000", "http://[::1]:7000"),
    ],
)
def test_host_variable_is_read_as_ollama_reads_it(value, url):
    assert ollama_url({"OLLAMA_HOST": value}) == url


@pytest.mark.parametrize(
    "value", ["file:///etc", "http://u:p@box", "box:notaport", "http://box/path", "http://box?x=1"]
)
def test_host_variable_that_is_no_address_is_refused(value):
    with pytest.raises(ConfigError) as caught:
        ollama_url({"OLLAMA_HOST": value})
    assert caught.value.code == "CONFIG_INVALID_SETTING"

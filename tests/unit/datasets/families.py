"""Chat templates of the eight preset families and small tokenizers to render them with.

Three templates are read from the installed TRL at test time. The others were written for these
tests in the shape of the family's own template; they are not copies of it.
"""

from __future__ import annotations

from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from backprop_core.datasets.tokenizer import ChatTokenizer

# Written in the shape of SmolLM2-Instruct: ChatML with a default system turn.
SMOLLM2_SHAPE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helper.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# Written in the shape of SmolLM3: generation blocks that hold the role header, a mode line, empty thinking.
SMOLLM3_SHAPE = """\
{%- if enable_thinking is not defined %}{%- set enable_thinking = true %}{%- endif %}
{{- '<|im_start|>system\nReasoning Mode: ' ~ ('/think' if enable_thinking else '/no_think') ~ '\n\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content.rstrip() }}{%- endif %}
{{- '<|im_end|>\n' }}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '<|im_start|>user\n' + message.content + '<|im_end|>\n' }}
    {%- elif message.role == 'assistant' %}
        {%- generation %}
        {%- if enable_thinking %}
            {{- '<|im_start|>assistant\n' + message.content.lstrip('\n') + '<|im_end|>\n' }}
        {%- else %}
            {{- '<|im_start|>assistant\n<think>\n\n</think>\n' + message.content.lstrip('\n') + '<|im_end|>\n' }}
        {%- endif %}
        {%- endgeneration %}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\n' + message.content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' ~ ('' if enable_thinking else '<think>\n\n</think>\n') }}
{%- endif %}"""

# Written in the shape of Mistral-7B-Instruct-v0.3: no header, a space before the answer, the system
# turn printed only while an answer is awaited, tools before the last question.
MISTRAL_SHAPE = """\
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr('role', 'equalto', 'user') | list %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message['role'] == 'user' %}
        {%- if tools and message == user_messages[-1] %}
            {{- '[AVAILABLE_TOOLS] ' ~ (tools | tojson) ~ '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- '[INST] ' + system_message + '\n\n' + message['content'] + '[/INST]' }}
        {%- else %}
            {{- '[INST] ' + message['content'] + '[/INST]' }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- '[TOOL_CALLS] [' }}
        {%- for call in message.tool_calls %}
            {{- (call.function | tojson)[:-1] + ', "id": "' + call.id + '"}' + ('' if loop.last else ', ') }}
        {%- endfor %}
        {{- ']' + eos_token }}
    {%- elif message['role'] == 'assistant' %}
        {{- ' ' + message['content'] | trim + eos_token }}
    {%- elif message['role'] == 'tool' %}
        {{- '[TOOL_RESULTS] {"content": ' + message['content'] + '}[/TOOL_RESULTS]' }}
    {%- else %}
        {{- raise_exception('Only user, assistant and tool turns are supported') }}
    {%- endif %}
{%- endfor %}"""

# Written in the shape of Phi-4-mini: role tokens without line ends, end of text after the last turn.
PHI4_SHAPE = """\
{%- for message in messages %}
    {{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- else %}{{- eos_token }}{%- endif %}"""

_CHATML = ("<|im_start|>", "<|im_end|>")
_LLAMA = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_MISTRAL = ("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]")
_PHI = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>", "<|endoftext|>")


def small_tokenizer(special: tuple[str, ...] = _CHATML) -> Tokenizer:
    """Return a byte-level BPE tokenizer with four merges and the given special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ċ", "Ċ"), ("h", "e"), ("Ġ", "t"), ("l", "l")]
    vocabulary = {token: number for number, token in enumerate([*alphabet, *(a + b for a, b in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def from_trl(name: str) -> str:
    """Return the template `name` that the installed TRL carries."""
    spec = find_spec("trl")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations))) / "chat_templates"
    return (folder / f"{name}.jinja").read_text(encoding="utf-8")


def family(name: str, *, enable_thinking: bool = False, template: str | None = None) -> ChatTokenizer:
    """Return tokenizer and template of one preset family."""
    chatml = {"eos_token": "<|im_end|>"}
    sources: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
        "smollm2-135m": (SMOLLM2_SHAPE, _CHATML, chatml),
        "smollm3-3b": (SMOLLM3_SHAPE, _CHATML, chatml),
        "mistral-7b": (MISTRAL_SHAPE, _MISTRAL, {"bos_token": "<s>", "eos_token": "</s>"}),
        "phi-4-mini-3.8b": (PHI4_SHAPE, _PHI, {"eos_token": "<|endoftext|>"}),
    }
    trl = {
        "qwen2.5-7b": ("qwen2_5", _CHATML, chatml),
        "qwen2.5-3b": ("qwen2_5", _CHATML, chatml),
        "qwen3.5-4b": ("qwen3_5_think", _CHATML, chatml),
        "llama-3.2-3b": ("llama3_2", _LLAMA, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}),
        "llama-3.2-1b": ("llama3_2", _LLAMA, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}),
    }
    if name in trl:
        file, special, named = trl[name]
        source = from_trl(file)
    else:
        source, special, named = sources[name]
    return ChatTokenizer(
        small_tokenizer(special),
        named,
        template or source,
        enable_thinking=enable_thinking,
        today=datetime(2026, 3, 1),
    )

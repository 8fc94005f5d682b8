"""Go templates for servers too old to use the chat template inside a GGUF file.

One per family of prompt formats, chosen by the control tokens of the trained template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# Ollama renders the file's own template in chats since this version.
_OWN_TEMPLATES_SINCE: Final = (0, 30, 0)
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class TemplateFamily:
    """A prompt format.

    Attributes:
        name: for messages.
        marks: control tokens that only this format uses; all must stand in the trained template.
        template: the same format in Go's template language.
        stops: texts that end a reply.
    """

    name: str
    marks: tuple[str, ...]
    template: str
    stops: tuple[str, ...]


_CHATML: Final = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
_LLAMA3: Final = """{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>

{{ .Content }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>

"""
_MISTRAL: Final = """{{- range $i, $message := .Messages }}
{{- if eq .Role "user" }}[INST] {{ if and $.System (eq (len (slice $.Messages $i)) 1) }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }} {{ .Content }}</s>
{{- end }}{{- end }}"""
_PHI: Final = "{{- range .Messages }}<|{{ .Role }}|>{{ .Content }}<|end|>{{ end }}<|assistant|>"

_FAMILIES: Final = (
    TemplateFamily("chatml", ("<|im_start|>", "<|im_end|>"), _CHATML, ("<|im_start|>", "<|im_end|>")),
    TemplateFamily(
        "llama3", ("<|start_header_id|>", "<|eot_id|>"), _LLAMA3, ("<|start_header_id|>", "<|eot_id|>")
    ),
    TemplateFamily("mistral", ("[INST]", "[/INST]"), _MISTRAL, ("[INST]", "</s>")),
    TemplateFamily("phi", ("<|end|>",), _PHI, ("<|end|>", "<|user|>")),
)


def uses_own_template(version: str) -> bool:
    """Return whether a server of this version renders chats with the template inside the file."""
    match = _VERSION.match(version)
    return match is not None and tuple(map(int, match.groups())) >= _OWN_TEMPLATES_SINCE


def family_of(chat_template: str) -> TemplateFamily | None:
    """Return the prompt format of a trained chat template, or None when it is none of the known ones."""
    for family in _FAMILIES:
        if all(mark in chat_template for mark in family.marks):
            return family
    return None

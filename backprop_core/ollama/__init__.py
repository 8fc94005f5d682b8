"""Ollama over HTTP: register a GGUF file, list, try and remove models. No program is ever started."""

from backprop_core.ollama.client import OllamaClient, OllamaModel
from backprop_core.ollama.hosts import ollama_url
from backprop_core.ollama.modelfile import Recipe, modelfile, require_name
from backprop_core.ollama.register import Registration, plan_recipe, register

__all__ = [
    "OllamaClient",
    "OllamaModel",
    "Recipe",
    "Registration",
    "modelfile",
    "ollama_url",
    "plan_recipe",
    "register",
    "require_name",
]

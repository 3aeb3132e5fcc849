"""Chat templates in Jinja as models bring them, in our own words, one for each format and habit that we know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """A template, the model's end-of-text token, and the name of its format."""

    jinja: str
    eos: str
    format: str


def turns(system: str, user: str, assistant: str, ask: str, *, start: str = "{{ bos_token }}") -> str:
    """A loop over the messages with an expression for each role; `ask` is text."""
    return (
        start + "{% for message in messages %}"
        "{% set content = message['content'] %}"
        "{% if message['role'] == 'system' %}{{ " + system + " }}"
        "{% elif message['role'] == 'user' %}{{ " + user + " }}"
        "{% elif message['role'] == 'assistant' %}{{ " + assistant + " }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '" + ask + "' }}{% endif %}"
    )


_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_DEFAULT = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
)
_LLAMA_3 = (
    "{% for message in messages %}"
    "{{ (bos_token if loop.first else '') + '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
    " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
_LLAMA_3_DATED = (
    "{{- bos_token }}{% if not date_string is defined %}{% set date_string = '26 Jul 2024' %}{% endif %}"
    "{% if messages[0]['role'] == 'system' %}{% set own = messages[0]['content'] | trim %}"
    "{% set messages = messages[1:] %}{% else %}{% set own = '' %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\nToday Date: '"
    " + date_string + '\\n\\n' + own + '<|eot_id|>' }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim"
    " + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
_ALTERNATE = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns must alternate') }}{% endif %}{% endfor %}"
)
_SYSTEM_APART = (
    "{% if messages[0]['role'] == 'system' %}{% set own = messages[0]['content'] %}{% set messages = messages[1:] %}"
    "{% else %}{% set own = '' %}{% endif %}"
)
_GEMMA_TURNS = (
    "{% for message in messages %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\\n'"
    " + (own + '\\n\\n' if own and loop.first else '') + message['content'] | trim + '<end_of_turn>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)


def _instruct(user: str, assistant: str, *, where: str, around: str = "own + '\\n\\n'") -> str:
    """The [INST] family; `where` is the loop's test for the turn that takes the system text."""
    return (
        "{{ bos_token }}" + _SYSTEM_APART + _ALTERNATE + "{% for message in messages %}"
        "{% set inner = (" + around + " if own and " + where + " else '') + message['content'] %}"
        "{% if message['role'] == 'user' %}{{ "
        + user
        + " }}{% else %}{{ "
        + assistant
        + " }}{% endif %}{% endfor %}"
    )


JINJAS: dict[str, Known] = {
    "chatml": Known(_CHATML, "<|im_end|>", "chatml"),
    "chatml with a default": Known(_DEFAULT + _CHATML, "<|im_end|>", "chatml"),
    "chatml after a begin-of-text": Known("{{ bos_token }}" + _CHATML, "<|im_end|>", "chatml"),
    "llama-3": Known(_LLAMA_3, "<|eot_id|>", "llama-3"),
    "llama-3 with a date": Known(_LLAMA_3_DATED, "<|eot_id|>", "llama-3"),
    "gemma": Known("{{ bos_token }}" + _SYSTEM_APART + _GEMMA_TURNS, "<eos>", "gemma"),
    "gemma that refuses a system text": Known(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + _GEMMA_TURNS,
        "<eos>",
        "gemma",
    ),
    "phi-3": Known(
        turns(
            "'<|system|>\\n' + content + '<|end|>\\n'",
            "'<|user|>\\n' + content + '<|end|>\\n'",
            "'<|assistant|>\\n' + content + '<|end|>\\n'",
            "<|assistant|>\\n",
        ),
        "<|endoftext|>",
        "phi-3",
    ),
    "phi-3 that drops a system text": Known(
        turns(
            "''",
            "'<|user|>\\n' + content + '<|end|>\\n<|assistant|>\\n'",
            "content + '<|end|>\\n'",
            "",
        ),
        "<|endoftext|>",
        "phi-3",
    ),
    "phi-4": Known(
        turns(
            "'<|im_start|>system<|im_sep|>' + content + '<|im_end|>'",
            "'<|im_start|>user<|im_sep|>' + content + '<|im_end|>'",
            "'<|im_start|>assistant<|im_sep|>' + content + '<|im_end|>'",
            "<|im_start|>assistant<|im_sep|>",
            start="",
        ),
        "<|im_end|>",
        "phi-4",
    ),
    "phi-4-mini": Known(
        turns(
            "'<|system|>' + content + '<|end|>'",
            "'<|user|>' + content + '<|end|>'",
            "'<|assistant|>' + content + '<|end|>'",
            "<|assistant|>",
            start="",
        ),
        "<|endoftext|>",
        "phi-4-mini",
    ),
    "zephyr": Known(
        turns(
            "'<|system|>\\n' + content + eos_token + '\\n'",
            "'<|user|>\\n' + content + eos_token + '\\n'",
            "'<|assistant|>\\n' + content + eos_token + '\\n'",
            "<|assistant|>\\n",
            start="",
        ),
        "</s>",
        "zephyr",
    ),
    "tulu": Known(
        turns(
            "'<|system|>\\n' + content + '\\n'",
            "'<|user|>\\n' + content + '\\n'",
            "'<|assistant|>\\n' + content + eos_token + '\\n'",
            "<|assistant|>\\n",
        ),
        "<|endoftext|>",
        "tulu",
    ),
    "llama-2": Known(
        _instruct(
            "bos_token + '[INST] ' + inner + ' [/INST]'",
            "' ' + inner + ' ' + eos_token",
            where="loop.first",
            around="'<<SYS>>\\n' + own + '\\n<</SYS>>\\n\\n'",
        ).removeprefix("{{ bos_token }}"),
        "</s>",
        "llama-2",
    ),
    "mistral-v1": Known(
        _instruct("'[INST] ' + inner + ' [/INST]'", "inner + eos_token", where="loop.first"),
        "</s>",
        "mistral-v1",
    ),
    "mistral-v1 with blanks": Known(
        _instruct("' [INST] ' + inner + ' [/INST]'", "' ' + inner + eos_token", where="loop.first"),
        "</s>",
        "mistral-v1",
    ),
    "mistral-v3": Known(
        _instruct("'[INST] ' + inner + '[/INST]'", "' ' + inner + eos_token", where="loop.last"),
        "</s>",
        "mistral-v3",
    ),
    "mistral-nemo": Known(
        _instruct("'[INST]' + inner + '[/INST]'", "inner + eos_token", where="loop.last"),
        "</s>",
        "mistral-nemo",
    ),
    "mistral-v7": Known(
        turns(
            "'[SYSTEM_PROMPT]' + content + '[/SYSTEM_PROMPT]'",
            "'[INST]' + content + '[/INST]'",
            "content + eos_token",
            "",
        ),
        "</s>",
        "mistral-v7",
    ),
    "command-r": Known(
        turns(
            "'<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + content + '<|END_OF_TURN_TOKEN|>'",
            "'<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + content + '<|END_OF_TURN_TOKEN|>'",
            "'<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' + content + '<|END_OF_TURN_TOKEN|>'",
            "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        ),
        "<|END_OF_TURN_TOKEN|>",
        "command-r",
    ),
    "granite-3": Known(
        turns(
            "'<|start_of_role|>system<|end_of_role|>' + content + '<|end_of_text|>\\n'",
            "'<|start_of_role|>user<|end_of_role|>' + content + '<|end_of_text|>\\n'",
            "'<|start_of_role|>assistant<|end_of_role|>' + content + '<|end_of_text|>\\n'",
            "<|start_of_role|>assistant<|end_of_role|>",
            start="",
        ),
        "<|end_of_text|>",
        "granite-3",
    ),
    "deepseek": Known(
        turns(
            "content",
            "'<｜User｜>' + content",
            "'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'",
            "<｜Assistant｜>",
        ),
        "<｜end▁of▁sentence｜>",
        "deepseek",
    ),
    "deepseek that thinks": Known(
        turns(
            "content",
            "'<｜User｜>' + content",
            "'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'",
            "<｜Assistant｜><think>\\n",
        ),
        "<｜end▁of▁sentence｜>",
        "deepseek-r1",
    ),
    "mistral-v7 with today's date": Known(
        "{% set today = strftime_now('%Y-%m-%d') %}{{ bos_token }}{% if messages[0]['role'] != 'system' %}"
        "{{ '[SYSTEM_PROMPT]Today is ' + today + '.[/SYSTEM_PROMPT]' }}{% endif %}"
        + turns(
            "'[SYSTEM_PROMPT]' + content + '[/SYSTEM_PROMPT]'",
            "'[INST]' + content + '[/INST]'",
            "content + eos_token",
            "",
            start="",
        ),
        "</s>",
        "mistral-v7",
    ),
    "vicuna": Known(
        turns(
            "content + ' '", "'USER: ' + content + ' '", "'ASSISTANT: ' + content + eos_token", "ASSISTANT:"
        ),
        "</s>",
        "vicuna",
    ),
    "openchat": Known(
        "{{ bos_token }}{% for message in messages %}"
        "{{ 'GPT4 Correct ' + message['role'].title() + ': ' + message['content'] + '<|end_of_turn|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}",
        "<|end_of_turn|>",
        "openchat",
    ),
    "exaone-3": Known(
        turns(
            "'[|system|]' + content + '[|endofturn|]\\n'",
            "'[|user|]' + content + '\\n'",
            "'[|assistant|]' + content + '[|endofturn|]\\n'",
            "[|assistant|]",
            start="",
        ),
        "[|endofturn|]",
        "exaone-3",
    ),
}

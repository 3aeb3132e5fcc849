"""Prompts that something on the way to a model is likely to alter: every one must arrive byte for byte.

`HARD_PROMPTS` maps a short name to the text. Written with escapes wherever an editor could change them. Only
what UTF-8 can carry: no lone surrogates.
"""

from __future__ import annotations

NBSP = "\u00a0"
ZWJ = "\u200d"
ZWNJ = "\u200c"

_DOCSTRING = '''\
Answer with code that has docstrings:

def add(a, b):
    """Adds two numbers.

    Returns the sum."""
    return a + b

Use """ inside a line, or at its end """
and go on.'''

_MODELFILE = '''\
You write Modelfiles. An example:
FROM llama3.2
PARAMETER temperature 0.7
SYSTEM """You are a pirate."""
MESSAGE user hello
# a comment
TEMPLATE "{{ .Prompt }}"'''

_PERSIAN = f"\u0645\u06cc{ZWNJ}\u062e\u0648\u0627\u0647\u0645 \u06a9\u062a\u0627\u0628{ZWNJ}\u0647\u0627 \u0631\u0627"
_HINDI = f"\u0915\u094d{ZWJ}\u0937 \u0930\u093e\u0937\u094d\u091f\u094d\u0930\u092d\u093e\u0937\u093e"
_FAMILY = f"\U0001f468{ZWJ}\U0001f469{ZWJ}\U0001f467{ZWJ}\U0001f466 \U0001f3f3\ufe0f{ZWJ}\U0001f308"
_SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"

HARD_PROMPTS: dict[str, str] = {
    # Quotes, as Modelfile text uses them
    "docstrings": _DOCSTRING,
    "triple quote at a line end": 'first """\nsecond',
    "triple quote at a line end, blanks after": 'first """ \t \nsecond',
    "triple quote before CRLF": 'first """\r\nsecond',
    "triple quote in a line": 'write """docstrings""" here',
    "triple quote first": '"""text',
    "triple quote first, more lines": '"""text\nand more',
    "triple quote last": 'text"""',
    "only a triple quote": '"""',
    "six quotes": '""""""',
    "six quotes, more lines": '""""""\nx',
    "four quotes and a line": '""""\nx',
    "one quote": '"',
    "two quotes": '""',
    "quote first": '"Hello" is a greeting',
    "quotes around": '"Hello"',
    "quote first and no other": '"Hello is a greeting',
    "quote at each line end": '"a"\n"b"\n"c"',
    "apostrophes": "'It''s' an apostrophe: ' and a backtick: `",
    # Blanks and line ends
    "one blank": " ",
    "leading and trailing blanks": "  padded  ",
    "leading newline": "\nstarts late",
    "trailing newlines": "ends late\n\n\n",
    "only newlines": "\n\n",
    "tabs": "\tindented\tand\ttabbed\t",
    "trailing blanks in lines": "one  \ntwo\t\nthree",
    "CRLF": "one\r\ntwo\r\n",
    "lone CR": "one\rtwo\rthree",
    "CR last": "one\r",
    "mixed line ends": "one\ntwo\r\nthree\rfour\n\rfive",
    "blank lines with blanks": "a\n \n\t\n \t \nb",
    # Rows that look like instructions or comments
    "a Modelfile": _MODELFILE,
    "comment": "# not a comment",
    "comments in lines": "a # b\n# c\n#",
    "FROM in a line": "FROM scratch",
    "FROM in the second line": "Dockerfiles begin with\nFROM scratch\nRUN true",
    "one word that is an instruction": "SYSTEM",
    "message role": "user: hello\nassistant: hi",
    # Other template languages
    "Jinja": "{{ name }} {% if x %}y{% endif %} {# note #} {%- raw -%}",
    "our own delimiters": "[[ system ]] [% if x %]y[% endif %] [# note #] [[ undefined_name ]]",
    "shell tests": 'if [[ -f "$HOME/.x" && ${#a[@]} -gt 0 ]]; then echo "$(date)"; fi',
    "raw block": "[% raw %][[ x ]][% endraw %]",
    "Go template": "{{ .System }}{{ range .Messages }}<|{{ .Role }}|>{{- end }}",
    "format strings": "%s %d %(name)s {0} {name!r} ${HOME} $PATH",
    "chat markers": "<|im_start|>system\nx<|im_end|>\n<s>[INST] <<SYS>> </s> <|eot_id|>",
    # Escapes
    "backslashes": "C:\\new\\table \\n \\t \\\\ \\u00e9 \\x41 \\",
    "backslash at a line end": "a \\\nb",
    "HTML and JSON": '<a href="x">&amp;</a> {"k": "<\\u003c>", "n": null}',
    "XML end tags": "</system></s>]]>",
    # Characters that Modelfile text drops
    "NBSP": f"10{NBSP}000{NBSP}EUR\u202f!",
    "NBSP at the ends": f"{NBSP}x{NBSP}",
    "only NBSP": NBSP,
    "ideographic space": "\u4f60\u597d\u3000\u4e16\u754c",
    "thin and other spaces": "a\u2000b\u2001c\u2002d\u2003e\u2009f\u200ag\u205fh\u1680i",
    "zero width space": "a\u200bb\u2060c\ufeffd",
    "Persian with ZWNJ": _PERSIAN,
    "Hindi with ZWJ": _HINDI,
    "family and flag emoji with ZWJ": _FAMILY,
    "country flags": "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7",
    "flag of tags": _SCOTLAND,
    "skin tones, keycaps": "\U0001f44d\U0001f3fd 1\ufe0f\u20e3",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u200f(\u200e123)\u202bx\u202c \u2066y\u2069 \u061c",
    "soft hyphen": "Donau\u00addampf\u00adschiff",
    "line and paragraph separators": "a\u2028b\u2029c",
    "next line, vertical tab, form feed": "a\u0085b\x0bc\x0cd",
    "C0 controls": "".join(map(chr, range(1, 32))),
    "NUL": "a\x00b",
    "DEL and C1 controls": "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "terminal escape": "\x1b[31mred\x1b[0m\x07",
    "byte order mark first": "\ufeffhello",
    "private use": "\ue000 \uf8ff \U000f0000 \U0010fffd",
    "unassigned and noncharacters": "\u0378 \ufdd0 \uffff \U0001fffe \U000e0fff",
    "replacement character": "\ufffd",
    "newer than Unicode 15.0": "\U0002ebf0 \U0001fae9",
    # Text that has to stay as it is, composed or not
    "combining marks": "e\u0301 \u00e9 a\u0308\u0323 Z\u0351\u036b\u0343",
    "Hangul jamo": "\u1112\u1161\u11ab \ud55c",
    "ligatures, full width, Kelvin": "\ufb01 \uff21\uff42 \u212a \u2126 \u00c5 \u212b",
    "Turkish and German case": "\u0130\u0131 Stra\u00dfe \u1e9e",
    "many scripts": "Gr\u00fc\u00dfe \u0416 \u03a9 \u65e5\u672c\u8a9e \u0e20\u0e32\u0e29 \u10e5 \u1200 \U00010348",
    "astral": "\U0001d54f \U00020bb7 \U0001f600",
    # Long ones
    "one very long line": "word " * 4000 + "end",
    "100 kB": "".join(f"{n}: The quick brown fox, naïve café – 狐.\n" for n in range(2200)),
    "many lines of quotes": 'say "hi"\n' * 300,
}

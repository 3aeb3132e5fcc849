"""Go's text/template as far as Ollama's chat templates need it: parsed, and run over plain data.

Own code: the libraries that render Go templates are Go's own behind a compiler that has to be there, or young and for
newer Pythons. Both real servers are asked for the same templates in tests/live/test_gotemplate_live.py.
"""

from __future__ import annotations

from modelforge.gotemplate.execute import run as run
from modelforge.gotemplate.functions import NoList as NoList
from modelforge.gotemplate.functions import Struct as Struct
from modelforge.gotemplate.functions import Today as Today
from modelforge.gotemplate.parser import Parsed as Parsed
from modelforge.gotemplate.parser import parse as parse
from modelforge.gotemplate.problem import GoTemplateProblem as GoTemplateProblem

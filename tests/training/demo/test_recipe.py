"""Whether the demo's base is made is asked without torch, and the answer follows its code."""

import json
import subprocess
import sys
from pathlib import Path

from training.demo.corpus import render_prompt
from training.demo.recipe import HASH_FILE, Recipe, is_made


def test_a_base_counts_only_if_this_code_made_it(tmp_path: Path) -> None:
    assert not is_made(tmp_path)
    file = tmp_path / HASH_FILE
    for digest, expected in ((Recipe().digest(render_prompt), True), ("another", False)):
        file.write_text(json.dumps({"digest": digest}))
        assert is_made(tmp_path) is expected
    file.write_text('{"digest"')
    assert not is_made(tmp_path)
    assert Recipe(steps=3).digest(render_prompt) != Recipe().digest(render_prompt)


def test_the_demo_asks_without_torch() -> None:
    program = (
        "import sys; from pathlib import Path; import training.demo.run; "
        "import training.demo.recipe as r; "
        "r.is_made(Path('none')); sys.exit('torch' in sys.modules or 'trl' in sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True)

"""Files of architectures, as people write and editors save them: read right, or refused by one line with its number."""

import numpy as np
import pytest
from hypothesis import strategies as st

from jaxnas.spaces import SPACES, check_archs, read_archs, sample
from jaxnas.spaces.declared import choice_space
from tests.edits import damage, fuzzed, read_or_refuse

MINE = choice_space("mine", (("8", "16"), ("conv3", "skip", "pool")))
ALL = {**SPACES, "mine": MINE}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n  \n"])
@pytest.mark.parametrize("space", ALL.values(), ids=ALL)
def test_lines_of_any_editor(tmp_path, space, encoding, end):
    archs = sample(space, 5, seed=0)
    text = end.join(f"  {space.format(arch)} " for arch in archs)
    (tmp_path / "archs.txt").write_text(text, encoding=encoding, newline="")
    np.testing.assert_array_equal(read_archs(tmp_path / "archs.txt", space), archs)


@fuzzed(draw=st.data())
def test_any_file_of_architectures_is_read_or_refused(tmp_path_factory, draw):
    space = draw.draw(st.sampled_from(list(ALL.values())))
    lines = list(map(space.format, sample(space, 3, seed=0)))
    lines[1] = draw.draw(st.text() | st.sampled_from(lines).flatmap(lambda line: st.permutations(line).map("".join)))
    content = "\n".join(lines).encode(errors="replace")
    path = tmp_path_factory.mktemp("archs") / "archs.txt"
    path.write_bytes(damage(draw, content) if draw.draw(st.booleans()) else content)
    read_or_refuse(lambda: check_archs(space, read_archs(path, space)), str(path))

"""A moment of `make torture`: random commands on several connections, and all views of the data agree."""

import pytest

from torture import VARIANTS, torture


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_all_views_agree(variant):
    done, checks, events = torture(0.1, "test", variant, connections=4, record=True)
    assert done > 100 and checks >= 2

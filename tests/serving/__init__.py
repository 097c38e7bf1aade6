import pytest

# So that a failing contract shows the values that it compared.
pytest.register_assert_rewrite("tests.serving.channel_contract")

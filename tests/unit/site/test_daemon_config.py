import tomllib

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.kcms.cluster.plugins.filter.daemon_config import daemon_config
from ansible_collections.kcms.cluster.plugins.plugin_utils.toml import to_toml

MANAGERS = [{"name": "alpha", "address": "10.0.0.1", "port": 8660}]


def test_toml_says_what_was_meant() -> None:
    document = {
        "text": 'a "b" \\ \x7f\n\u00e9',
        "number": 3,
        "real": 2.5,
        "yes": True,
        "list": ["x", 1],
        "managers": MANAGERS,
        "names": {"fd00::1": "a1", "10.0.0.1": "b"},
        "nothing": {},
    }
    assert tomllib.loads(to_toml(document)) == document


def test_overrides_of_the_daemon_win() -> None:
    text = daemon_config({"gridname": "lab"}, "web", {"web": {"refresh": 5}, "node": {}})
    assert tomllib.loads(text) == {"gridname": "lab", "refresh": 5}


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        ({"web": {"refersh": 5}}, "kcms_config.web: unknown setting 'refersh'; .*'refresh'"),
        ({"web": {"refresh": "5"}}, "kcms_config.web: refresh must be int, not '5'"),
        ({"page": {}}, "kcms_config: no daemon 'page'; there are aggregator, gateway"),
    ],
)
def test_wrong_override_is_one_line(overrides: dict[str, object], line: str) -> None:
    with pytest.raises(AnsibleFilterError, match=line):
        daemon_config({"gridname": "lab"}, "web", overrides)

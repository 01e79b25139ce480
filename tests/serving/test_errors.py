"""Errors: OpenAI's shape, pickling between processes, and the cause of a failed start."""

import pickle
import re
import traceback

from serving import errors
from serving.errors import (
    AdapterRefused,
    ConfigError,
    JournalFull,
    RateLimited,
    StoreUnavailable,
    Unauthenticated,
)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    ours = {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and cls.__module__ == errors.__name__
    }
    drawn = re.findall(r"(\w+) +(\d{3})  (\S.*)", errors.__doc__ or "")
    assert {name for name, _, _ in drawn} == set(ours)
    for name, status, sentence in drawn:
        assert issubclass(ours[name], errors.SwitchboardError)
        assert str(ours[name].status) == status
        assert (ours[name].__doc__ or "").splitlines()[0] == sentence


def test_body_has_openais_shape() -> None:
    assert errors.body(AdapterRefused("no", param="version")) == {
        "error": {
            "message": "no",
            "type": "invalid_request_error",
            "param": "version",
            "code": "adapter_refused",
        }
    }


def test_headers_say_when_to_try_again_and_how_to_authenticate() -> None:
    assert errors.headers(AdapterRefused("no")) == {}
    assert errors.headers(Unauthenticated("no")) == {"www-authenticate": "Bearer"}
    assert errors.headers(StoreUnavailable("down")) == {"retry-after": "5"}
    assert errors.headers(JournalFull("full")) == {"retry-after": "2"}


def test_errors_survive_pickling() -> None:
    again = pickle.loads(pickle.dumps(AdapterRefused("no", param="version")))
    assert (type(again), again.message, again.param) == (AdapterRefused, "no", "version")
    limited = pickle.loads(pickle.dumps(RateLimited("slow down", headers={"retry-after": "3"})))
    assert limited.headers == {"retry-after": "3"}


def test_configuration_fault_of_a_replica_is_shown_without_its_traceback() -> None:
    try:
        raise ConfigError("engine: argument --dtype: invalid choice: 'nonsense'")
    except ConfigError:
        text = "The deployment failed to start 3 times.\n" + traceback.format_exc()
    assert errors.root_cause(text) == "engine: argument --dtype: invalid choice: 'nonsense'"


def test_other_failure_of_a_replica_is_shown_whole() -> None:
    assert errors.root_cause("Traceback …\nMemoryError") == "Traceback …\nMemoryError"

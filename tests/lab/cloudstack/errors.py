"""Errors as CloudStack answers them: an HTTP-like code and CloudStack's own exception number.

The functions are named after the exception of the real server that each stands for, because the pair of numbers
follows from it. Texts are ours: a client must decide by the numbers.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """One refused command. Raised before a job exists it is the HTTP answer; inside a job it is the job's result."""

    def __init__(
        self, errorcode: int, cserrorcode: int | None, text: str, uuids: tuple[Mapping[str, str], ...] = ()
    ) -> None:
        super().__init__(text)
        self.uuids = uuids
        self.errorcode = errorcode
        self.cserrorcode = cserrorcode
        self.text = text


def invalid_value(text: str) -> ApiError:
    return ApiError(431, 4350, text)


def bad_parameter(text: str) -> ApiError:
    """A parameter that does not even parse: refused by the dispatcher, before the command looks at it."""
    return ApiError(431, 9999, text)


def bad_value(command: str, parameter: str, value: str) -> ApiError:
    """A value of the wrong form, or an id of nothing that ever was."""
    return bad_parameter(
        f"Unable to execute API command {command.lower()} due to invalid value. Invalid parameter {parameter} "
        f"value={value} due to incorrect long value format, or entity does not exist or due to incorrect parameter "
        "annotation for the field in api cmd class."
    )


def runtime(text: str) -> ApiError:
    return ApiError(530, 4250, text)


def permission_denied(text: str) -> ApiError:
    return ApiError(531, 4365, text)


def over_limit(text: str) -> ApiError:
    return ApiError(535, 4370, text)


def no_capacity(text: str) -> ApiError:
    return ApiError(533, 9999, text)


def not_allowed(command: str) -> ApiError:
    """What a role without the command gets. The id of the user is another one in each answer, and nobody's."""
    text = f"The API [{command}] does not exist or is not available for the account for user id [{uuid.uuid4()}]."
    return ApiError(432, 9999, text)


def unsupported(text: str) -> ApiError:
    return ApiError(432, 9999, text)


def bad_credentials() -> ApiError:
    """No exception stands behind this one, so the real answer carries no cserrorcode."""
    return ApiError(401, None, "unable to verify user credentials and/or request signature")


def hidden(error: ApiError) -> ApiError:
    """What others than root administrators get of a plain runtime error, where no job tells it."""
    if error.errorcode != 530 or error.cserrorcode not in (4250, 0):
        return error
    text = "Internal error executing command, please contact your system administrator"
    return ApiError(530, error.cserrorcode, text)


def as_answer(error: ApiError) -> dict[str, Any]:
    body: dict[str, Any] = {"uuidList": [dict(one) for one in error.uuids], "errorcode": error.errorcode}
    if error.cserrorcode is not None:
        body["cserrorcode"] = error.cserrorcode
    return body | {"errortext": error.text}


def in_job(error: ApiError) -> ApiError:
    """The same refusal as a job ends by it: a permission that is missing is a plain error there."""
    return ApiError(530, None, error.text) if error.errorcode == 531 else error


def as_job_result(error: ApiError) -> dict[str, Any]:
    """A failed job keeps the code but loses the exception number: the job's table has no column for it."""
    return {"errorcode": error.errorcode, "errortext": error.text}

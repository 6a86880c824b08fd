"""The texts of limits that are reached: whose limit it is, and of what."""

from __future__ import annotations

GIB = 1 << 30


def exceeded(limit: int, used: int, more: int) -> bool:
    """Return whether that is too much; a limit below 0 is none."""
    return limit >= 0 and used + more > limit


def sizes(resource: str, limit: int, used: int, more: int) -> tuple[str, str, str, str]:
    """Return limit, use, reservation and request as a text has them: storage in GiB is told in bytes."""
    if resource != "primary_storage":
        return str(limit), str(used), "0", str(more)
    limit_text, used_text, more_text = (f"({one:.2f} GB) {one * GIB}" for one in (limit, used, more))
    return limit_text, used_text, "(0 bytes) 0", more_text


def of_account(resource: str, whose: str, limit: str, used: str, reserved: str, more: str) -> str:
    """Return the text for an account or a project, "Account Name = ..."."""
    return (
        f"Maximum amount of resources of Type = '{resource}', tag = 'null' for {whose} in Domain Id = 1 is exceeded: "
        f"Account Resource Limit = {limit}, Current Account Resource Amount = {used}, Current Account Resource "
        f"Reservation = {reserved}, Requested Resource Amount = {more}."
    )


def of_domain(resource: str, domain_id: str, limit: str, used: str, reserved: str, more: str) -> str:
    """Return the text for a domain."""
    return (
        f"Maximum domain resource limits of Type '{resource}' for Domain Id = {domain_id} is exceeded: Domain "
        f"Resource Limit = {limit}, Current Domain Resource Amount = {used}, Current Resource Reservation = "
        f"{reserved}, Requested Resource Amount = {more}."
    )

"""The connection to vCenter, which outlives its session. Every call goes through it, and every property that is read.

- Where vSphere says that nobody is logged in, it has not carried out the call: log in again, once for all threads that
  were told so, with the password as it is then, and make the call again, once.
- A connection that breaks, and an answer that is none (503 of vCenter's proxy, 408, a page of HTML, half a document),
  become our errors. A call that only reads is made again as `patience.py` says. One that changes something is not:
  UnansweredError, and whoever made it looks what came of it.
- vSphere's own faults stay pyVmomi's, for those who know what they mean.
"""

from __future__ import annotations

import gzip
import http.client
import io
import re
import select
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar
from xml.etree.ElementTree import ParseError, fromstring

from pyVmomi import SoapAdapter, VmomiSupport, vim, vmodl

from migratekit_core.adapters.vsphere.patience import (
    FIRST_LOGIN_SECONDS,
    OUTAGE_SECONDS,
    Calls,
    FirstLogin,
    UnansweredError,
    call_mode,
)
from migratekit_core.adapters.vsphere.unreachable import bad_status, no_vsphere, not_ready, unreachable
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
)
from migratekit_core.common.patience import patiently
from migratekit_core.config.schema import VCenter

T = TypeVar("T")

PATH = "/sdk"
READS = re.compile(r"Fetch|Retrieve|NfcGet|Query|Find|Has|CurrentTime|CreateContainerView|CreateFilter|Refresh|Acquire")
"""How the names of calls begin that may be made twice. What they make ends with the session, or by itself."""
BOUND = re.compile(r"Continue|Cancel|Destroy|WaitForUpdates|CheckForUpdates|Login|Logout")
"""How the names of calls begin that are about something of their session: in another one they mean nothing."""
NOT_READY = (vmodl.fault.SystemError, vmodl.fault.HostCommunication, vmodl.fault.RequestCanceled)
"""What a vCenter says of itself that has just started, or stops. Only who takes something back waits for its end."""
VERSIONS_BYTES = 1 << 20
"""More is not read of what should be a list of versions."""

_answer_seconds: ContextVar[float] = ContextVar("answer_seconds", default=0.0)


@contextmanager
def answer_within(seconds: float) -> Iterator[None]:
    """Have the calls within the block wait so long for an answer, where that is longer than `vcenter.timeout`."""
    token = _answer_seconds.set(seconds)
    try:
        yield
    finally:
        _answer_seconds.reset(token)


def trust(vcenter: VCenter) -> ssl.SSLContext:
    """Return whom we trust to be vCenter. Raises PreconditionError where `ca_file` cannot be read."""
    try:
        return ssl.create_default_context(cafile=str(vcenter.ca_file) if vcenter.ca_file else None)
    except OSError as error:
        raise PreconditionError(
            f"vcenter.ca_file {vcenter.ca_file} cannot be read",
            str(error),
            "check the path in the configuration",
            code=ErrorCode.FILE_UNREADABLE,
            facts={"path": str(vcenter.ca_file)},
        ) from error


class Answer(NamedTuple):
    """What came over HTTP."""

    status: int
    reason: str
    body: bytes
    cookie: str | None


class Connection(SoapAdapter.SoapStubAdapter):  # type: ignore[misc]
    """pyVmomi's connection, with a session that is renewed. Shared by threads."""

    def __init__(self, vcenter: VCenter, note: Callable[[str], None] | None = None) -> None:
        """`note` is told in a line for people what is waited for. Nothing is sent yet."""
        self._vcenter = vcenter
        self.note = note
        self._renewing = threading.Lock()
        self._logins = 0
        self.cookie: str = ""
        self.where = f"vCenter {vcenter.host}:{vcenter.port}"
        super().__init__(
            host=vcenter.host,
            port=vcenter.port,
            path=PATH,
            version="vim.version.version9",
            sslContext=trust(vcenter),
            httpConnectionTimeout=vcenter.timeout,
        )

    def log_in(self) -> Any:
        """Find out which version of the API both sides know, log in, and return the ServiceInstance.

        Tried again as `FirstLogin` says, which is said at once; never with a password that was refused.

        Raises AuthError for a refused login, UnreachableError where nothing answers, where it is no vSphere, or where
        the certificate is not trusted.
        """
        policy = FirstLogin(min(FIRST_LOGIN_SECONDS, self.patience()))
        patiently(policy, "log in", self._first_login, self.note, quiet=0.0)
        return vim.ServiceInstance("ServiceInstance", self)

    def _first_login(self) -> None:
        version = self._newest_version()
        del self.version  # pyVmomi goes to no older one
        self.ComputeVersionInfo(version)
        self._log_in()

    def InvokeMethod(self, mo: Any, info: Any, args: Any, outerStub: Any = None) -> Any:
        """Make a call, for pyVmomi."""
        request = self.SerializeRequest(mo, info, args)
        return self._ask(info.wsdlName, lambda kind: self._read(self._once(request, kind), info.result, kind))

    def text_of(self, managed: Any, method: str, *arguments: Any) -> bytes:
        """Make a call of `managed`; return the answer as XML. Raises pyVmomi's faults and our errors."""
        return self.text_by(managed, type(managed)._GetMethodInfo(method), *arguments)

    def text_by(self, managed: Any, info: Any, *arguments: Any) -> bytes:
        """Do the same with a method that pyVmomi does not know of `managed`, by what was registered of it."""
        request = self.SerializeRequest(managed, info, arguments)

        def once(kind: type[UnreachableError]) -> bytes:
            answer = self._once(request, kind)
            if answer.status != http.HTTPStatus.OK:
                self._read(answer, None, kind)
            return answer.body

        return self._ask(info.wsdlName, once)

    def _ask(self, name: str, once: Callable[[type[UnreachableError]], T]) -> T:
        """Return the answer to a call, made again where that is allowed."""
        kind = UnreachableError if READS.match(name) else UnansweredError
        # What cannot be made again is not: its session, and what it is about, may be gone.
        if BOUND.match(name):
            return self._in_session(name, lambda: once(kind))
        policy = Calls(self.patience(), call_mode().undoing)

        def ask() -> T:
            try:
                return self._in_session(name, lambda: once(kind))
            except NOT_READY as fault:
                if kind is UnansweredError or not call_mode().undoing:
                    raise
                raise not_ready(self.where, fault) from None

        return patiently(policy, name, ask, call_mode().note or self.note)

    def patience(self) -> float:
        """Return for how many seconds the calls of this thread wait for a vCenter that is away."""
        if call_mode().at_once:
            return 0.0
        return self._vcenter.patience if call_mode().undoing else min(OUTAGE_SECONDS, self._vcenter.patience)

    def _in_session(self, name: str, once: Callable[[], T]) -> T:
        """Return the answer to a call; log in before it is made again if the session has ended."""
        logins = self._logins
        try:
            return once()
        except vim.fault.NotAuthenticated:
            if name in ("Login", "Logout"):
                raise
            self._renew(logins)
            if BOUND.match(name):
                raise
        try:
            return once()
        except vim.fault.NotAuthenticated:
            raise AuthError(
                f"{self.where}: the session ended",
                "vCenter logged us out again and again",
                "look who ends sessions there, and run the command again",
                code=ErrorCode.VCENTER_SESSION_ENDED,
            ) from None

    def _renew(self, logins: int) -> None:
        """Log in again, unless another thread has done so since there were `logins`."""
        with self._renewing:
            if self._logins == logins:
                self._log_in()

    def _log_in(self) -> None:
        """Begin a new session. Its calls are made once, and were not what anybody waits for: none is unanswered."""
        self.SetSessionId(None)
        service = vim.ServiceInstance("ServiceInstance", self)
        user, password = self._vcenter.user, self._vcenter.password.read("vcenter.password")
        try:
            content = self._plain(service, "RetrieveContent")
            self._plain(content.sessionManager, "Login", user, password, None)
        except vim.fault.InvalidLogin:
            raise AuthError(
                f"{self.where} refused the login",
                f"wrong password, or no user {user}",
                "check vcenter.user and .password",
                code=ErrorCode.VCENTER_LOGIN_REFUSED,
                facts={"user": user},
            ) from None
        except vim.fault.NoPermission as fault:
            raise AuthError(
                f"{self.where} does not let {user} log in",
                f"the account lacks the privilege {fault.privilegeId}",
                "give it a role in vCenter; docs/permissions.md lists what is needed",
                code=ErrorCode.VCENTER_PRIVILEGE_MISSING,
                facts={"user": user, "privilege": fault.privilegeId},
            ) from None
        except (vmodl.RuntimeFault, vim.fault.HostConnectFault) as fault:
            raise not_ready(self.where, fault) from None
        self._logins += 1

    def _plain(self, managed: Any, method: str, *arguments: Any) -> Any:
        """Make a call once, in the session that it may begin."""
        info = type(managed)._GetMethodInfo(method)
        request = self.SerializeRequest(managed, info, arguments)
        answer = self._once(request, UnreachableError)
        # Of no other call: the answer to one of the old session may arrive when the new one has begun.
        self.cookie = answer.cookie or self.cookie
        return self._read(answer, info.result, UnreachableError)

    def _newest_version(self) -> str:
        """Return the newest version of the API that both sides know."""
        answer = self._exchange("GET", f"{PATH}/vimServiceVersions.xml", None, UnreachableError)
        if answer.status != http.HTTPStatus.OK:
            raise bad_status(self.where, answer.status, answer.reason, UnreachableError)
        try:
            # The server is the one that is trusted with the machines, and expat limits what entities may grow to.
            known = fromstring(answer.body[:VERSIONS_BYTES])  # noqa: S314
        except ParseError as error:
            raise no_vsphere(self.where, f"its list of versions cannot be read: {error}") from None
        theirs = {found.text for found in known.iter("version")}
        for ours in VmomiSupport.GetServiceVersions("vim25"):
            if VmomiSupport.versionIdMap[ours] in theirs:
                return str(ours)
        raise no_vsphere(self.where, "it names no version of the API that is known here")

    def _once(self, request: Any, kind: type[UnreachableError]) -> Answer:
        """Send a call once; return its answer: a result, or a fault (status 500)."""
        # It knows the inventory's XML, whose reading needs this module.
        from migratekit_core.adapters.vsphere import record

        with record.call(request) as recorded:
            answer = self._exchange("POST", self.path, request, kind)
            recorded.answered(answer.status, answer.body)
        if answer.status not in (http.HTTPStatus.OK, http.HTTPStatus.INTERNAL_SERVER_ERROR):
            raise bad_status(self.where, answer.status, answer.reason, kind)
        return answer

    def _exchange(self, method: str, path: str, request: Any, kind: type[UnreachableError]) -> Answer:
        """Make one HTTP request. Raises `kind` where there is no answer, UnreachableError where nothing was sent."""
        headers = {
            "Cookie": self.cookie,
            "SOAPAction": self.versionId,
            "Content-Type": "text/xml; charset=UTF-8",
            "Accept-Encoding": "gzip",
            "User-Agent": "migratekit",
        }
        try:
            connection = self._connected()
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, ssl.SSLCertVerificationError) and call_mode().undoing:
                with suppress(PreconditionError):  # somebody may put the file right meanwhile
                    self.schemeArgs["context"] = trust(self._vcenter)
            raise unreachable(self.where, error) from None
        try:
            connection.request(method, path, request, headers)
            answer = connection.getresponse()
            body: bytes = answer.read()
            if answer.getheader("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
        except (OSError, http.client.HTTPException, EOFError, zlib.error) as error:
            # The server is probably sick: so are the other connections.
            connection.close()
            self.DropConnections()
            raise unreachable(self.where, error, kind, connected=True) from None
        self.ReturnConnection(connection)
        return Answer(answer.status, answer.reason, body, answer.getheader("Set-Cookie"))

    def _connected(self) -> Any:
        """Return a connection that can be written to: one of the pool may have been closed from the other end."""
        connection = self.GetConnection()
        if connection.sock is not None and select.select([connection.sock], [], [], 0)[0]:
            connection.close()
        connection.timeout = max(self._vcenter.timeout, _answer_seconds.get())
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(connection.timeout)
        return connection

    def _read(self, answer: Answer, result: Any, kind: type[UnreachableError]) -> Any:
        """Return what an answer says; raise the fault that it is."""
        try:
            found = SoapAdapter.SoapResponseDeserializer(self).Deserialize(io.BytesIO(answer.body), result)
        except Exception as error:  # pyVmomi's parser has many for what is not vSphere's XML
            raise no_vsphere(self.where, f"its answer cannot be read: {type(error).__name__}", kind) from None
        if answer.status == http.HTTPStatus.OK:
            return found
        if isinstance(found, Exception):
            raise found
        raise OperationFailedError(
            f"{self.where} refused a call",
            "its fault cannot be read",
            "look at vCenter's log",
            code=ErrorCode.BAD_ANSWER,
        )

    def end(self, seconds: float) -> None:
        """End the session, but wait only so long for a vCenter that hangs: sessions end by themselves."""

        def run() -> None:
            try:
                content = self._plain(vim.ServiceInstance("ServiceInstance", self), "RetrieveContent")
                self._plain(content.sessionManager, "Logout")
            except Exception:  # noqa: S110, what happened before is what matters
                pass

        thread = threading.Thread(target=run, daemon=True, name="vcenter-log-out")
        thread.start()
        thread.join(seconds)
        self.DropConnections()

    def keep_alive(self, ended: threading.Event, seconds: float) -> None:
        """Call now and then, until `ended`: vCenter ends a session that is idle for half an hour."""
        while not ended.wait(seconds):
            try:
                self._plain(vim.ServiceInstance("ServiceInstance", self), "CurrentTime")
            except Exception:  # noqa: S112, the next real call tells what is wrong, with its own words
                continue

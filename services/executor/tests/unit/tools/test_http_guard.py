"""The guard of http.fetch: which addresses, which URLs, and that no answer is looked up twice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from jobyard.author import ToolError
from jobyard_executor.tools.http.addresses import parse, refusal
from jobyard_executor.tools.http.guard import Target, checked, system_lookup
from jobyard_executor.tools.http.settings import HttpSettings

PUBLIC = "93.184.215.14"


@pytest.mark.parametrize(
    "address",
    [
        "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
        "169.254.169.254", "168.63.129.16", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1",
        "192.168.1.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1",
        "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
        "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "2002:a9fe:a9fe::1",
        "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    ],
)  # fmt: skip
def test_what_is_not_public_is_refused(address: str) -> None:
    assert refusal(parse(address)) is not None


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808",
     "2002:808:808::1"],
)  # fmt: skip
def test_public_addresses_may_be_called(address: str) -> None:
    assert refusal(ip_address(address)) is None


class Resolver:
    """Answers in turn, and counts."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


def check(url: str, *answers: Sequence[str], allow: str = "") -> Target:
    settings = HttpSettings(allow=allow)
    return asyncio.run(checked(url, settings=settings, lookup=Resolver(*(answers or ([PUBLIC],)))))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "gopher://example.org/", "ftp://example.org/", "data:text/plain,x", "example.org",
        "//example.org/", "http://", "http:///x", "http://user@example.org/", "http://user:pw@example.org/",
        "http://example.org:22/", "http://example.org:6379/", "https://example.org:0/", "http://example.org:99999/",
        "http://example.org:port/", "http://exa mple.org/", "http://example.org/\r\nHost: evil", "http://example.org/\x00",
        "http://example.org\\@evil/", "http://[::1", "http://[zz]/", "http://" + "a" * 9000, "javascript:alert(1)",
        "http://\u2100.example/",
    ],
)  # fmt: skip
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ToolError) as caught:
        check(url)
    assert (caught.value.code, caught.value.retryable) == ("url_refused", False)


@pytest.mark.parametrize(
    "answers",
    [
        ["127.0.0.1"],
        ["0.0.0.0"],  # noqa: S104
        [PUBLIC, "10.0.0.1"],
        ["::ffff:192.168.0.1"],
        ["fe80::1%lo"],
    ],
)
def test_one_private_answer_is_enough_to_refuse(answers: list[str]) -> None:
    with pytest.raises(ToolError, match="may not be called") as caught:
        check("http://example.org/", answers)
    assert (caught.value.code, caught.value.retryable) == ("address_refused", False)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "0", "[::1]", "[::ffff:127.0.0.1]", "localhost",
     "localhost.", "LOCALHOST", "169.254.169.254", "[64:ff9b::a9fe:a9fe]", "\uff11\uff12\uff17.0.0.1"],
)  # fmt: skip
def test_every_spelling_of_a_neighbour_is_refused_by_the_real_resolver(host: str) -> None:
    with pytest.raises(ToolError) as caught:
        asyncio.run(checked(f"http://{host}/", settings=HttpSettings(), lookup=system_lookup))
    assert caught.value.code in ("address_refused", "url_refused", "name_unresolved")


def test_the_checked_address_is_the_one_that_is_called() -> None:
    """A second answer that differs is never asked for."""
    resolver = Resolver([PUBLIC], ["127.0.0.1"])
    target = asyncio.run(checked("https://Example.org:8443/a?b#c", settings=HttpSettings(), lookup=resolver))
    assert resolver.asked == [("example.org", 8443)]
    assert str(target.at(target.addresses[0])) == f"https://{PUBLIC}:8443/a?b#c"
    assert (target.host, target.port) == ("example.org", 8443)


def test_names_in_other_scripts_are_looked_up_as_punycode() -> None:
    resolver = Resolver([PUBLIC])
    asyncio.run(checked("http://bücher.example/", settings=HttpSettings(), lookup=resolver))
    assert resolver.asked == [("xn--bcher-kva.example", 80)]


def test_a_name_that_is_not_found_may_be_tried_again() -> None:
    async def nobody(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(ToolError) as caught:
        asyncio.run(checked("http://nowhere.example/", settings=HttpSettings(), lookup=nobody))
    assert (caught.value.code, caught.value.retryable) == ("name_unresolved", True)
    with pytest.raises(ToolError, match="no address"):
        check("http://nowhere.example/", [])


@pytest.mark.parametrize(
    ("allow", "url", "free"),
    [
        ("intranet.example", "http://intranet.example:9999/", True),
        ("intranet.example:9999", "http://intranet.example:9999/", True),
        ("intranet.example:9999", "http://intranet.example/", False),
        (" a.example , Intranet.example ", "http://INTRANET.example./", True),
        ("intranet.example", "http://sub.intranet.example/", False),
        ("", "http://intranet.example/", False),
    ],
)
def test_an_administrator_can_name_hosts(allow: str, url: str, free: bool) -> None:
    if free:
        assert check(url, ["10.0.0.1"], allow=allow).addresses == (ip_address("10.0.0.1"),)
    else:
        with pytest.raises(ToolError):
            check(url, ["10.0.0.1"], allow=allow)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_HTTP_ALLOW", "one.example, two.example:81")
    settings = HttpSettings()
    assert settings.allows("ONE.example", 80) and settings.allows("two.example", 81)
    assert not settings.allows("two.example", 80)
    assert settings.allows_port(443) and not settings.allows_port(22)

import json
import shutil
import stat
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from foedus.core.errors import LinkError, SignatureError
from foedus.engines.kits.certificates import require_current
from foedus.engines.kits.founding import accept, ask, assemble, found
from foedus.engines.kits.kit import OPERATOR, Kit, League, open_kit
from foedus.engines.kits.papers import Invitation, fingerprint, read_paper
from foedus.engines.kits.startup import ALLOWED_CLASSES, place_storage

LEAGUE = League(
    name="league",
    host="localhost",
    port=8002,
    admin_port=8002,
    transport="tcp",
    organisations=["north", "south-east"],
    researchers=["anna@north.example.org", "ada"],
    researchers_port=8003,
    valid_days=30,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A federation, founded the distributed way."""
    place = tmp_path_factory.mktemp("founded")
    _founded(place)
    return place


def _founded(place: Path) -> None:
    authority = found(LEAGUE, place / "authority")
    for name in LEAGUE.parties():
        asked = ask(authority.file, name, place / "homes" / name, authority.fingerprint)
        accepted = accept(place / "authority", asked.file, asked.fingerprint)
    assert accepted.missing == ()
    for name, grant in accepted.grants.items():
        assemble(place / "homes" / name, grant, place / "kits" / name)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kit of north in another federation with the same names."""
    place = tmp_path_factory.mktemp("others")
    _founded(place)
    return place / "kits" / "north"


@pytest.fixture(scope="module")
def kits(place: Path) -> Mapping[str, Kit]:
    return {name: open_kit(place / "kits" / name) for name in LEAGUE.parties()}


def test_every_party_has_its_own_key_and_everybodys_pinned(kits: Mapping[str, Kit]) -> None:
    public = {name: kit.identity().public for name, kit in kits.items()}
    assert len(set(public.values())) == len(kits)
    for kit in kits.values():
        assert {name: pin.current for name, pin in kit.pins().items()} == public


def test_private_keys_lie_in_their_own_kit_alone(place: Path, kits: Mapping[str, Kit]) -> None:
    for kit in kits.values():
        secret = {path for path in kit.folder.rglob("*") if b"PRIVATE KEY" in _content(path)}
        assert {path.parent.name for path in secret} == {"keys", "startup"}
        assert len(secret) == (3 if kit.role == "coordinator" else 2)
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secret)
        assert stat.S_IMODE(kit.folder.stat().st_mode) == 0o700
        for path in [
            *(place / "authority").rglob("*"),
            *(path for other in kits.values() for path in other.folder.rglob("*")),
        ]:
            if not path.is_relative_to(kit.folder):
                assert all(_content(own) not in _content(path) for own in secret)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def test_certificates_name_their_party_and_stand_under_the_root(kits: Mapping[str, Kit]) -> None:
    for name, kit in kits.items():
        stem = "server" if kit.role == "coordinator" else "client"
        certificate = x509.load_pem_x509_certificate((kit.startup / f"{stem}.crt").read_bytes())
        root = x509.load_pem_x509_certificate((kit.startup / "rootCA.pem").read_bytes())
        certificate.verify_directly_issued_by(root)
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
        assert common == kit.own_user == ("localhost" if name == "coordinator" else name)
        key = load_pem_private_key((kit.startup / f"{stem}.key").read_bytes(), None)
        assert key.public_key() == certificate.public_key()
        assert certificate.not_valid_after_utc == root.not_valid_after_utc
        with pytest.raises(x509.ExtensionNotFound):
            certificate.extensions.get_extension_for_class(x509.BasicConstraints)  # nobody but the root signs others


def test_certificates_are_taken_by_a_clock_that_is_behind_and_last_as_long_as_was_said(kits: Mapping[str, Kit]) -> None:
    now = datetime.now(UTC)
    for kit in kits.values():
        for path in [*kit.folder.rglob("*.crt"), *kit.folder.rglob("rootCA.pem")]:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            assert certificate.not_valid_before_utc < now - timedelta(hours=23)
            assert timedelta(days=29, hours=23) < certificate.not_valid_after_utc - now < timedelta(days=30)


def test_kits_are_current_by_a_clock_that_is_ten_minutes_off(kits: Mapping[str, Kit]) -> None:
    now = datetime.now(UTC)
    for kit in (kits["north"], kits["coordinator"]):
        for minutes in (-10, 0, 10):
            require_current(kit, now + timedelta(minutes=minutes))
        for days in (-2, 31):
            with pytest.raises(
                LinkError, match=r"clock says .*; set the clock right, or, if it is, found the federation"
            ):
                require_current(kit, now + timedelta(days=days))


@pytest.mark.parametrize(
    ("copied", "why"),
    [
        (["client.crt"], "of another federation"),
        (["client.crt", "client.key"], "of another federation"),
        (["client.crt", "rootCA.pem"], "of another key"),
        (["rootCA.pem"], "of another federation"),
    ],
)
def test_a_kit_with_a_certificate_of_another_federation_is_named(
    place: Path, others: Path, tmp_path: Path, copied: list[str], why: str
) -> None:
    shutil.copytree(place / "kits" / "north", tmp_path / "kit")
    for name in copied:
        shutil.copyfile(others / "startup" / name, tmp_path / "kit" / "startup" / name)
    with pytest.raises(LinkError, match=why):
        require_current(open_kit(tmp_path / "kit"))


def test_the_coordinators_process_has_a_user_of_its_own(place: Path, kits: Mapping[str, Kit]) -> None:
    operator = kits["coordinator"].operator / "startup"
    certificate = x509.load_pem_x509_certificate((operator / "client.crt").read_bytes())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((operator / "rootCA.pem").read_bytes()))
    assert certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value == OPERATOR
    assert not [name for name, kit in kits.items() if kit.operator.exists() and name != "coordinator"]
    request = json.loads((place / "homes" / "north" / "north.request").read_text())
    assert request["paper"]["operator_request"] is None


def test_a_kit_takes_no_code_and_loads_no_class_but_ours(kits: Mapping[str, Kit]) -> None:
    for kit in kits.values():
        if kit.role == "researcher":
            continue
        resources = json.loads((kit.folder / "local" / "resources.json").read_text())
        assert resources["class_allow_list"] == list(ALLOWED_CLASSES)
        assert resources["class_list_enforcement_mode"] == "enforce"
        assert resources["allow_log_streaming"] is False
        assert not [part for part in resources["components"] if "log" in part["id"]]
        rights = json.loads((kit.folder / "local" / "authorization.json").read_text())["permissions"]
        assert set(rights) == {"lead"}
        assert {rights["lead"][right] for right in ("byoc", "shell_commands", "operate")} == {"none"}


def test_no_script_of_flare_goes_round_ours(kits: Mapping[str, Kit]) -> None:
    for kit in kits.values():
        scripts = [path.name for path in kit.folder.rglob("*.sh")]
        assert scripts == ([] if kit.role == "researcher" else ["start.sh"])


def test_a_coordinators_stores_lie_in_its_kit_wherever_that_is(kits: Mapping[str, Kit], tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    resources = (kits["coordinator"].folder / "local" / "resources.json").read_text()
    (tmp_path / "local" / "resources.json").write_text(resources)
    for _ in range(2):
        place_storage(tmp_path)
        assert str(tmp_path / "jobs-storage") in (tmp_path / "local" / "resources.json").read_text()
        assert "/tmp/nvflare" not in (tmp_path / "local" / "resources.json").read_text()  # noqa: S108


def test_the_page_for_people_tells_what_leaves_and_the_fingerprints(kits: Mapping[str, Kit]) -> None:
    page = (kits["north"].folder / "README.md").read_text()
    assert "What leaves your organisation" in page
    assert all(kit.identity().public.fingerprint in page for kit in kits.values())


def test_an_invitation_that_was_changed_on_its_way_is_refused(place: Path, tmp_path: Path) -> None:
    invitation = (place / "authority" / "federation.invitation").read_text()
    (tmp_path / "invitation").write_text(invitation.replace("localhost", "elsewhere"))
    with pytest.raises(SignatureError):
        read_paper(tmp_path / "invitation", Invitation)


def test_an_invitation_of_somebody_else_is_refused(tmp_path: Path) -> None:
    mine, other = (found(LEAGUE, tmp_path / name) for name in ("mine", "other"))
    with pytest.raises(SignatureError, match="have its owner read it out"):
        ask(other.file, "north", tmp_path / "home", mine.fingerprint)
    assert not (tmp_path / "home").exists()


def test_who_does_not_belong_gets_no_keys(place: Path, tmp_path: Path) -> None:
    invitation = place / "authority" / "federation.invitation"
    authority = read_fingerprint(invitation)
    with pytest.raises(LinkError, match=r"west does not belong to the federation league; coordinator, north"):
        ask(invitation, "west", tmp_path / "home", authority)


def read_fingerprint(invitation: Path) -> str:
    return fingerprint(read_paper(invitation, Invitation).authority)


def test_a_request_by_another_key_than_was_read_out_is_refused(place: Path, tmp_path: Path) -> None:
    invitation = place / "authority" / "federation.invitation"
    asked = ask(invitation, "north", tmp_path / "home", read_fingerprint(invitation))
    with pytest.raises(SignatureError, match="not abcd-efgh"):
        accept(place / "authority", asked.file, "abcd-efgh")
    with pytest.raises(LinkError, match="north has asked before"):
        accept(place / "authority", asked.file, asked.fingerprint)


def test_a_request_in_anothers_name_is_refused(place: Path, tmp_path: Path) -> None:
    text = json.loads((place / "homes" / "north" / "north.request").read_text())
    text["paper"]["name"] = "south-east"
    (tmp_path / "request").write_text(json.dumps(text))
    with pytest.raises(SignatureError):
        accept(place / "authority", tmp_path / "request", "whatever")


def test_a_grant_for_another_party_makes_no_kit(place: Path, tmp_path: Path) -> None:
    with pytest.raises(SignatureError):
        assemble(place / "homes" / "north", place / "authority" / "grants" / "south-east.grant", tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def test_a_grant_that_was_changed_makes_no_kit(place: Path, tmp_path: Path) -> None:
    grant = json.loads((place / "authority" / "grants" / "north.grant").read_text())
    grant["paper"]["pins"]["south-east"] = grant["paper"]["pins"]["north"]
    (tmp_path / "grant").write_text(json.dumps(grant))
    with pytest.raises(SignatureError):
        assemble(place / "homes" / "north", tmp_path / "grant", tmp_path / "kit")


def test_nothing_is_overwritten(place: Path, tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="is there already"):
        found(LEAGUE, place / "authority")
    invitation = place / "authority" / "federation.invitation"
    with pytest.raises(LinkError, match="is there already"):
        ask(invitation, "north", place / "homes" / "north", read_fingerprint(invitation))
    with pytest.raises(LinkError, match="is there already"):
        assemble(place / "homes" / "north", place / "authority" / "grants" / "north.grant", place / "kits" / "north")


@pytest.mark.parametrize("text", ["", "{}", '{"format": "foedus kit 2"}', "[" * 100_000])
def test_a_damaged_kit_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "kit.json").write_text(text)
    with pytest.raises(LinkError, match=r"kit\.json is damaged"):
        open_kit(tmp_path)


def test_a_kit_for_another_role_is_refused(kits: Mapping[str, Kit], tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="a coordinator's kit is needed"):
        open_kit(kits["north"].folder, "coordinator")
    with pytest.raises(LinkError, match="is no kit"):
        open_kit(tmp_path)

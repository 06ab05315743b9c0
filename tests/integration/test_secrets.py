"""A team's tracking server behind TLS and a password, which no file and no message of a run holds."""

import subprocess
from pathlib import Path

import pytest
import requests

from pipeline.storage.files import read_json
from tests.support.images import small_arguments
from tests.support.servers import MlflowServer, postgres, postgres_programs

pytest.importorskip("flask_wtf", reason="MLflow's basic authentication takes Flask-WTF")
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed"),
]

USER, PASSWORD, TOKEN = "trainer", "Corr3ct-horse-battery", "t0ken-of-nobody-8d1f"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """Self-signed, for 127.0.0.1; its key beside it."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "certificate.pem",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "certificate.pem"


@pytest.fixture(scope="module")
def server(tmp_path_factory, certificate):
    folder = tmp_path_factory.mktemp("server")
    users = folder / "basic_auth.ini"
    users.write_text(
        f"[mlflow]\ndefault_permission = EDIT\ndatabase_uri = sqlite:///{folder}/users.db\n"
        "admin_username = admin\nadmin_password = a-password-for-12\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    tls = f"--ssl-certfile {certificate} --ssl-keyfile {certificate.with_name('key.pem')}"
    options = ["--app-name", "basic-auth", "--uvicorn-opts", tls]
    secrets = {"MLFLOW_AUTH_CONFIG_PATH": str(users), "MLFLOW_FLASK_SERVER_SECRET_KEY": "for the forms"}
    with postgres(folder / "postgres") as database:
        running = MlflowServer(database, folder / "mlflow", *options, certificate=certificate, **secrets)
        running.database = database
        running.start()
        made = requests.post(
            f"{running.uri}/api/2.0/mlflow/users/create",
            json={"username": USER, "password": PASSWORD},
            auth=("admin", "a-password-for-12"),
            verify=certificate,
            timeout=20,
        )
        assert made.ok, made.text
        yield running
        running.stop()


def holders(secret: str, server: MlflowServer, *folders: Path) -> list[str]:
    """Files below the folders that hold a secret, and the server's database."""
    files = [
        str(file)
        for folder in folders
        for file in folder.rglob("*")
        if file.is_file() and secret.encode() in file.read_bytes()
    ]
    dumped = subprocess.run(
        [postgres_programs() / "pg_dump", server.database], check=True, capture_output=True, text=True
    ).stdout
    return files + ["the database"] * (secret in dumped)


def test_a_run_is_logged_and_its_password_is_nowhere(command, server, certificate, tmp_path, images):
    ran = command(
        "pipeline.prepare", *small_arguments(images), f"cache_folder={tmp_path}/cache", "hydra.run.dir=job",
        "tracking.system_metrics_interval=null", MLFLOW_TRACKING_SERVER_CERT_PATH=str(certificate),
        MLFLOW_TRACKING_URI=server.uri.replace("://", f"://{USER}:{PASSWORD}@"),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    [ledger] = (tmp_path / "cache").glob("logged-*.json")
    assert read_json(ledger)["stages"].keys() == {"prepare"}
    assert PASSWORD not in ran.stdout + ran.stderr
    assert holders(PASSWORD, server, tmp_path, server.folder) == []
    # The search itself works: the user is in the server's list.
    assert holders(USER, server, server.folder.parent)


@pytest.mark.parametrize(
    ("secret", "environment"),
    [
        ("wr0ng-Password", {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": "wr0ng-Password"}),
        (TOKEN, {"MLFLOW_TRACKING_TOKEN": TOKEN}),
    ],
)
def test_who_is_refused_gets_a_sentence_without_the_secret(
    command, server, certificate, tmp_path, images, secret, environment
):
    ran = command(
        "pipeline.prepare", *small_arguments(images), f"cache_folder={tmp_path}/cache", "hydra.run.dir=job",
        MLFLOW_TRACKING_URI=server.uri, MLFLOW_TRACKING_SERVER_CERT_PATH=str(certificate), **environment,
    )  # fmt: skip
    assert ran.returncode == 1
    assert f"tracking: the store {server.uri} can't be used" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert secret not in ran.stdout + ran.stderr
    assert holders(secret, server, tmp_path, server.folder) == []


def test_a_certificate_that_nobody_vouches_for_is_refused(command, server, tmp_path, images):
    ran = command(
        "pipeline.prepare", *small_arguments(images), f"cache_folder={tmp_path}/cache", "hydra.run.dir=job",
        MLFLOW_TRACKING_URI=server.uri, MLFLOW_TRACKING_USERNAME=USER, MLFLOW_TRACKING_PASSWORD=PASSWORD,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert PASSWORD not in ran.stderr

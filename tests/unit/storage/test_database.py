"""Addresses of database files, whatever the folders are called."""

import pytest
import sqlalchemy

from pipeline.storage.database import sqlite_address


@pytest.mark.parametrize("name", ["plain", "a b", "ü#1", "run?a", "feature%2Flogin", "100%"])
def test_the_address_names_the_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / name
    folder.mkdir()
    engine = sqlalchemy.create_engine(sqlite_address(folder / "x.db"))
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE t (a INTEGER)"))
    engine.dispose()
    assert [item.name for item in tmp_path.iterdir()] == [name]
    assert [item.name for item in folder.iterdir()] == ["x.db"]

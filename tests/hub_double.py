"""A local double of the HTTP interface of the Hugging Face Hub, for tests of ``hf://`` and push.

It answers what the client ``huggingface_hub`` asks for a repository of models: facts at a revision,
files with their entity tags, new repositories, uploads (in a commit, and large ones by LFS) and
commits. Repositories are dictionaries in memory.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

ROOT = Path(__file__).parent.parent
TOKEN = "hf_of_the_tests"
LARGE = re.compile(r".*\.safetensors")
"""Names of files that are uploaded by LFS, as the Hub's first .gitattributes says."""


@dataclass
class Stored:
    """A repository: commits in order, each with all files, and names of revisions."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    """Sizes that the facts tell in place of the true ones."""

    def commit(self, files: dict[str, bytes], message: str = "", revision: str = "main") -> str:
        """Add a commit with these files beside those of the last one; its hash."""
        last = self.commits.get(self.revisions.get(revision, ""), {})
        content = {**last, **files}
        text = json.dumps([len(self.commits), sorted(map(str, content.items()))])
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha], self.revisions[revision] = content, sha
        self.messages.append(message)
        return sha

    def at(self, revision: str) -> str | None:
        """The hash of the commit that a revision names."""
        return revision if revision in self.commits else self.revisions.get(revision)


class Hub:
    """The double: repositories by name, and everything that was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, Stored] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.failing: int | None = None
        """A status with which everything is answered."""
        self.url = ""

    def add(self, name: str, run: Path, **facts: Any) -> str:
        """A repository with the files of a run folder; the hash of its commit."""
        stored = self.repositories.setdefault(name, Stored(**facts))
        return stored.commit({one.name: one.read_bytes() for one in run.iterdir()})

    def charseq(self, folder: Path, *words: str, **changes: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of the command line in a folder, against the double.

        ``changes``: of the environment; an empty value unsets a variable.
        """
        done = self.run(folder, "-m", "charseq", *words, **changes)
        return done.returncode, done.stdout, done.stderr

    def run(self, folder: Path, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments in a folder, against the double."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "CHARSEQ_MODEL"))}
        environment = {
            **kept, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": self.url,
            "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1", **changes,
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False,
            env={k: v for k, v in environment.items() if v},
        )  # fmt: skip


@contextmanager
def hub_double() -> Iterator[Hub]:
    """The double on a free port of this machine."""
    hub = Hub()
    handler = type("HubHandler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Refusal(Exception):
    """An answer that is an error: status, and the code in the Hub's header."""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if self.hub.failing:
                raise _Refusal(self.hub.failing, "")
            for method, pattern, answer in ROUTES:
                found = re.fullmatch(pattern, path)
                if self.command in method.split() and found:
                    return answer(self, *found.groups())
            raise _Refusal(404, "")
        except _Refusal as refusal:
            status, code = refusal.args
            self._send(status, b'{"error": "refused"}', **({"X-Error-Code": code} if code else {}))

    def _send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), Content_Type="application/json")

    @property
    def _knows_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _writable(self, name: str) -> Stored:
        if not self._knows_token:
            raise _Refusal(401, "")
        return self._readable(name)

    def _readable(self, name: str) -> Stored:
        stored = self.hub.repositories.get(name)
        if stored is None or (stored.private and not self._knows_token):
            raise _Refusal(404 if self._knows_token else 401, "RepoNotFound")
        if stored.gated and not self._knows_token:
            raise _Refusal(403, "GatedRepo")
        return stored

    def _files(self, name: str, revision: str) -> tuple[str, dict[str, bytes], Stored]:
        stored = self._readable(name)
        sha = stored.at(revision)
        if sha is None:
            raise _Refusal(404, "RevisionNotFound")
        return sha, stored.commits[sha], stored

    def facts(self, name: str, revision: str | None) -> None:
        sha, files, stored = self._files(name, revision or "main")
        listed = [
            {"rfilename": one, "size": stored.sizes.get(one, len(content))}
            for one, content in files.items()
        ]
        told = {"id": name, "modelId": name, "sha": sha, "private": stored.private}
        self._json({**told, "siblings": listed, "tags": [], "downloads": 0, "likes": 0})

    def file(self, name: str, revision: str, path: str) -> None:
        sha, files, _ = self._files(name, revision)
        if path not in files:
            raise _Refusal(404, "EntryNotFound")
        tag = f'"{hashlib.sha256(files[path]).hexdigest()}"'
        self._send(200, files[path], ETag=tag, X_Repo_Commit=sha)

    def create(self) -> None:
        if not self._knows_token:
            raise _Refusal(401, "")
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        told = json.dumps({"url": f"{self.hub.url}/{name}", "name": name}).encode()
        if name in self.hub.repositories:
            return self._send(409, told)
        is_private = asked.get("private") or asked.get("visibility") == "private"
        self.hub.repositories[name] = Stored(private=bool(is_private))
        self.hub.repositories[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return self._send(200, told)

    def check_card(self) -> None:
        text = json.loads(self.body)["content"]
        yaml.safe_load(text.split("---\n")[1])
        self._json({"warnings": [], "errors": []})

    def preupload(self, name: str, _revision: str) -> None:
        self._writable(name)
        paths = [one["path"] for one in json.loads(self.body)["files"]]
        mode = {True: "lfs", False: "regular"}
        self._json({"files": [
            {"path": one, "uploadMode": mode[bool(LARGE.fullmatch(one))], "shouldIgnore": False}
            for one in paths
        ]})  # fmt: skip

    def batch(self, name: str) -> None:
        self._writable(name)
        wanted = json.loads(self.body)["objects"]
        self._json({"transfer": "basic", "objects": [
            {**one, "actions": {"upload": {"href": f"{self.hub.url}/upload/{one['oid']}"}}}
            for one in wanted
        ]})  # fmt: skip

    def upload(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _Refusal(400, "")
        self.hub.objects[oid] = self.body
        self._send(200, b"")

    def commit(self, name: str, revision: str) -> None:
        stored = self._writable(name)
        lines = [json.loads(line) for line in self.body.splitlines()]
        files = {}
        for one in (line["value"] for line in lines if line["key"] != "header"):
            is_large = "oid" in one
            files[one["path"]] = (
                self.hub.objects[one["oid"]] if is_large else base64.b64decode(one["content"])
            )
        sha = stored.commit(files, lines[0]["value"]["summary"], revision)
        url = f"{self.hub.url}/{name}/commit/{sha}"
        self._json({"success": True, "commitOid": sha, "commitUrl": url})


NAME = r"([^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Any]] = [
    ("GET", rf"/api/models/{NAME}(?:/revision/(.+))?", _Handler.facts),
    ("GET HEAD", rf"/{NAME}/resolve/([^/]+)/(.+)", _Handler.file),
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", "/api/validate-yaml", _Handler.check_card),
    ("POST", rf"/api/models/{NAME}/preupload/(.+)", _Handler.preupload),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", r"/upload/([0-9a-f]+)", _Handler.upload),
    ("POST", rf"/api/models/{NAME}/commit/(.+)", _Handler.commit),
]

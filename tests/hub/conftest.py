"""A small Hugging Face Hub on loopback: the part of the API that a push and a load use, over real HTTP.

It follows what huggingface_hub 2.4 sends and expects: create, whoami, validate-yaml, preupload, LFS batch and PUT, in
one piece or in parts (`huggingface_hub.lfs`), commit (ndjson), info, tree, paths-info, and resolve with HEAD and GET.
Contents live in memory; `HubStub.repos` shows them, a dataset's under `datasets/user/name`.
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
import yaml
from prm.data_gen.label_report import label_report
from prm.data_gen.monte_carlo import MonteCarloLabeler
from prm.data_gen.prefixes import CompletionPool

from prm.fingerprint import file_hash
from prm.generation.base import GenerationRequest, SamplingParams, request_seed
from prm.grading import ExactGrader
from prm.jsonl import write_json, write_jsonl
from prm.rollouts import Outcome, Rollout
from prm.sampling_rules import Fixed
from prm.splitting import split_steps
from prm.worlds.arithmetic import make_problems
from prm.worlds.solver import ChainSolver

WRITER, READER = "hf_writer", "hf_reader"  # READER may not write
ELSEWHERE = "hf_elsewhere"  # may write, but to another namespace; of fine-grained tokens the Hub says where
TOKENS = {
    WRITER: {"role": "write"},
    READER: {"role": "read"},
    ELSEWHERE: {
        "role": "fineGrained",
        "fineGrained": {"scoped": [{"entity": {"type": "org", "name": "acme"}, "permissions": ["repo.write"]}]},
    },
}
REPO = r"((?:datasets/)?[^/]+/[^/]+?)"
LFS = (".safetensors", ".parquet")  # files that are kept apart from the commit
DROPPED, TORN = 0, -1  # faults: no answer to a request; the connection closed while its body is being sent


@dataclass
class Repo:
    """One repository: its files now, and the messages of its commits."""

    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=lambda: ["initial commit"])

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr((self.commits, sorted(self.files))).encode()).hexdigest()


class HubStub(ThreadingHTTPServer):
    """The server. `faults` maps a pattern of "METHOD /path" to statuses given, in turn, in the place of the answer,
    `DROPPED` and `TORN` among them. Files above `part_size` bytes are sent in parts of that size. `delays` maps such
    patterns to seconds before the answer; new ones of the `private_organisations` are private unless they are asked to
    be public."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.part_size: int | None = None
        self.parts: dict[tuple[str, int], bytes] = {}
        self.requests: list[str] = []
        self.faults: dict[str, list[int]] = {}
        self.delays: dict[str, float] = {}
        self.private_organisations: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def seen(self, pattern: str) -> list[str]:
        return [request for request in self.requests if re.search(pattern, request)]

    def add_repo(self, repo_id: str, files: dict[str, bytes], *, private: bool = False) -> None:
        self.repos[repo_id] = Repo(private, files)
        self.blobs |= {oid(content, True): content for content in files.values()}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of some tests."""


class Handler(BaseHTTPRequestHandler):
    """Routes: `METHOD /path` patterns to methods; the groups of a pattern are the arguments."""

    protocol_version = "HTTP/1.1"
    server: HubStub
    ROUTES = (
        (r"GET /api/whoami-v2", "whoami"),
        (r"POST /api/repos/create", "create"),
        (r"POST /api/validate-yaml", "validate_yaml"),
        (rf"POST /api/models/{REPO}/preupload/main", "preupload"),
        (rf"POST /{REPO}\.git/info/lfs/objects/batch", "lfs_batch"),
        (r"PUT /lfs/(\w+)", "lfs_put"),
        (r"PUT /lfs/(\w+)/(\d+)", "lfs_put_part"),
        (r"POST /lfs/(\w+)/complete", "lfs_complete"),
        (r"(?:GET|HEAD) /lfs/(\w+)", "lfs_get"),
        (rf"POST /api/models/{REPO}/commit/main", "commit"),
        (rf"GET /api/models/{REPO}(?:/revision/\w+)?", "info"),
        (rf"GET /api/models/{REPO}/tree/(\w+)/?(.*)", "tree"),
        (rf"POST /api/models/{REPO}/paths-info/(\w+)", "paths_info"),
        (rf"(?:GET|HEAD) /{REPO}/resolve/(\w+)/(.+)", "resolve"),
    )

    def route(self) -> None:
        path = unquote(self.path.split("?")[0]).replace("/api/datasets/", "/api/models/datasets/")
        request = f"{self.command} {path}"
        self.server.requests.append(request)
        faults = [statuses for pattern, statuses in self.server.faults.items() if re.search(pattern, request)]
        fault = next((statuses.pop(0) for statuses in faults if statuses), None)
        if fault == TORN:
            self.rfile.read(64)  # of a body that is longer
            return self.fail(DROPPED, "")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or self.chunks()
        if fault is not None:
            return self.fail(fault, "told to fail")
        delay = sum(delay for pattern, delay in self.server.delays.items() if re.search(pattern, request))
        threading.Event().wait(delay)  # tests replace time.sleep, by which the client waits
        for pattern, name in self.ROUTES:
            if found := re.fullmatch(pattern, request):
                return getattr(self, name)(*found.groups())
        self.fail(404, f"the stub has no route for {request}")

    do_GET = do_HEAD = do_POST = do_PUT = route

    def chunks(self) -> bytes:
        parts = []
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        return b"".join(parts)

    def answer(self, body: Any = b"", status: int = 200, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        headers.setdefault("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def fail(self, status: int, message: str, code: str = "") -> None:
        if not status:
            self.close_connection = True
            return self.connection.close()
        self.answer({"error": message}, status, X_Error_Message=message, **({"X_Error_Code": code} if code else {}))

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    # Who may do what. As on the real Hub, a repository one may not see looks like one that does not exist.

    def token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def may_write(self) -> bool:
        if self.token() not in TOKENS:
            self.fail(401, "Invalid credentials in Authorization header")
        elif self.token() != WRITER:
            self.fail(403, "You don't have the rights to write to this repository")
        return self.token() == WRITER

    def visible(self, repo_id: str) -> Repo | None:
        repo = self.server.repos.get(repo_id)
        if repo is None or (repo.private and self.token() not in TOKENS):
            self.fail(404 if self.token() else 401, "Repository not found", "RepoNotFound")
            return None
        return repo

    # The way there.

    def whoami(self) -> None:
        if (described := TOKENS.get(self.token())) is None:
            return self.fail(401, "Invalid credentials in Authorization header")
        self.answer({"type": "user", "name": "user", "auth": {"accessToken": described}, "orgs": []})

    def create(self) -> None:
        if not self.may_write():
            return
        asked = json.loads(self.body)
        repo_id = f"{asked.get('organization') or 'user'}/{asked['name']}"
        repo_id = f"datasets/{repo_id}" if asked.get("type") == "dataset" else repo_id
        if repo_id in self.server.repos:
            return self.fail(409, "You already created this model repo")
        default = "private" if asked.get("organization") in self.server.private_organisations else "public"
        self.server.repos[repo_id] = Repo(private=asked.get("visibility", default) == "private")
        self.answer({"url": f"{self.server.url}/{repo_id}", "name": repo_id})

    def validate_yaml(self) -> None:
        parts = json.loads(self.body)["content"].split("---\n", 2)
        try:
            valid = len(parts) == 3 and isinstance(yaml.safe_load(parts[1]), dict)
        except yaml.YAMLError:
            valid = False
        errors = [] if valid else [{"message": "no valid front matter"}]
        self.answer({"errors": errors, "warnings": []}, 200 if valid else 400)

    def preupload(self, repo_id: str) -> None:
        if not self.may_write() or (repo := self.visible(repo_id)) is None:
            return
        answers = []
        for file in json.loads(self.body)["files"]:
            lfs = file["path"].endswith(LFS)
            known = {"oid": oid(repo.files[file["path"]], lfs)} if file["path"] in repo.files else {}
            answers.append(
                {"path": file["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, **known}
            )
        self.answer({"files": answers})

    def lfs_batch(self, repo_id: str) -> None:
        if not self.may_write():
            return
        objects = []
        for item in json.loads(self.body)["objects"]:
            upload = {"actions": {"upload": self.upload_action(item["oid"], item["size"])}}
            objects.append({**item, **({} if item["oid"] in self.server.blobs else upload)})
        self.answer({"transfer": "basic", "objects": objects})

    def upload_action(self, sha256: str, size: int) -> dict[str, Any]:
        """Where an object goes: in one piece, or in parts to an address each, and then who to tell."""
        href, part = f"{self.server.url}/lfs/{sha256}", self.server.part_size
        if part is None or size <= part:
            return {"href": href}
        urls = {str(number): f"{href}/{number}" for number in range(1, -(-size // part) + 1)}
        return {"href": f"{href}/complete", "header": {"chunk_size": str(part), **urls}}

    def lfs_put(self, sha256: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != sha256:
            return self.fail(400, "the content is not what its sha256 says")
        self.server.blobs[sha256] = self.body
        self.answer()

    def lfs_put_part(self, sha256: str, number: str) -> None:
        self.server.parts[sha256, int(number)] = self.body
        self.answer(ETag=f'"{hashlib.md5(self.body).hexdigest()}"')

    def lfs_complete(self, sha256: str) -> None:
        asked = json.loads(self.body)
        parts = [self.server.parts.get((sha256, part["partNumber"]), b"") for part in asked["parts"]]
        content = b"".join(parts)
        etags = [f'"{hashlib.md5(part).hexdigest()}"' for part in parts]
        if [part["etag"] for part in asked["parts"]] != etags or hashlib.sha256(content).hexdigest() != sha256:
            return self.fail(400, "the parts are not what their sha256 says")
        self.server.blobs[sha256] = content
        self.answer({})

    def commit(self, repo_id: str) -> None:
        if not self.may_write() or (repo := self.visible(repo_id)) is None:
            return
        lines = [json.loads(line) for line in self.body.splitlines()]
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repo.files[value["path"]] = self.server.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del repo.files[value["path"]]
        repo.commits.append(lines[0]["value"]["summary"])
        self.answer({"commitUrl": f"{self.server.url}/{repo_id}/commit/{repo.sha}", "commitOid": repo.sha})

    # The way back.

    def info(self, repo_id: str) -> None:
        if (repo := self.visible(repo_id)) is not None:
            siblings = [{"rfilename": name} for name in sorted(repo.files)]
            self.answer({"id": repo_id, "sha": repo.sha, "private": repo.private, "siblings": siblings, "tags": []})

    def tree(self, repo_id: str, revision: str, folder: str) -> None:
        if (repo := self.visible(repo_id)) is None:
            return
        start = f"{folder}/" if folder else ""
        inside = {name.removeprefix(start): b for name, b in repo.files.items() if name.startswith(start)}
        folders = {name.split("/")[0] for name in inside if "/" in name}
        if "recursive=true" not in self.path.lower():
            inside = {name: content for name, content in inside.items() if "/" not in name}
        self.answer([directory(start + n) for n in sorted(folders)] + [entry(start + n, b) for n, b in inside.items()])

    def paths_info(self, repo_id: str, revision: str) -> None:
        if (repo := self.visible(repo_id)) is None:
            return
        asked = json.loads(self.body) if self.body.startswith(b"{") else parse_qs(self.body.decode())
        found = [entry(name, repo.files[name]) for name in asked["paths"] if name in repo.files]
        folders = [name for name in asked["paths"] if any(path.startswith(f"{name}/") for path in repo.files)]
        self.answer(found + [directory(name) for name in folders])

    def resolve(self, repo_id: str, revision: str, name: str) -> None:
        if (repo := self.visible(repo_id)) is None:
            return
        if name not in repo.files:
            return self.fail(404, "Entry not found", "EntryNotFound")
        etag = oid(repo.files[name], name.endswith(LFS))
        self.answer(
            repo.files[name], X_Repo_Commit=repo.sha, ETag=f'"{etag}"', Content_Type="application/octet-stream"
        )


def entry(name: str, content: bytes) -> dict[str, Any]:
    """A file as listings show it."""
    return {"type": "file", "path": name, "size": len(content), "oid": oid(content, False)}


def directory(name: str) -> dict[str, Any]:
    """A folder as listings show it."""
    return {"type": "directory", "path": name, "size": 0, "oid": "0" * 40}


def oid(content: bytes, lfs: bool) -> str:
    """What git calls the content: the sha256 of an LFS object, the sha1 of a blob."""
    return (
        hashlib.sha256(content).hexdigest() if lfs else hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    )


@pytest.fixture
def hub() -> Iterator[HubStub]:
    """A Hub of its own for each test."""
    server = HubStub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub_python(hub: HubStub, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in a process of its own that knows no Hub but the stub and starts with an empty cache;
    huggingface_hub reads its environment when it is imported."""

    def run(*arguments: str, token: str | None = WRITER) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))}
        environment |= {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf_home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
        }
        if token is not None:
            environment["HF_TOKEN"] = token
        return subprocess.run(
            [sys.executable, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=900
        )

    return run


@pytest.fixture
def logged_in(hub: HubStub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> HubStub:
    """This process talks to the stub as a user who may write, and snippets print without being run."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("prm.cards.snippet.execute", lambda scripts, timeout: ["[0.5]"] * len(scripts))
    return hub


@pytest.fixture
def labels_path(tmp_path: Path) -> Path:
    """The labels of a small run, with its report beside it."""
    solver = ChainSolver(slip=0.2)
    rollouts = []
    for problem in make_problems(6, seed=1, split="train", min_operations=4, max_operations=4):
        request = GenerationRequest(tuple(solver.prompt_ids(problem.problem)), request_seed(problem.problem, "", 0, 9))
        [done] = solver.generate([request], SamplingParams())
        split = split_steps(done.text, "line")
        outcome = Outcome.CORRECT if split.steps[-1] == f"A: {problem.answer}" else Outcome.WRONG
        rollouts.append(Rollout(problem, split.steps, split.gaps, 0, done.stop_reason, "s", outcome=outcome))
    pool = CompletionPool(solver, ExactGrader(), SamplingParams())
    rows = MonteCarloLabeler(pool, Fixed(4)).label(rollouts)
    path = tmp_path / "labels" / "labels.jsonl"
    write_jsonl(path, (row.to_dict() for row in rows))
    settings = {"labeler": "monte_carlo", "n": 4, "model_name_or_path": str(tmp_path), "rollouts_hash": "0f"}
    report = label_report(rows, pool.results, "exact/1") | {"labeler": "monte_carlo", "settings": settings}
    write_json(path.parent / "label_report.json", report | {"data_hash": file_hash(path)})
    return path

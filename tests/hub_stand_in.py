"""A hub of one process: what huggingface_hub asks of one to make a repository, commit to it, and read it."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest

TOKEN = "hf_right"
Files = dict[str, bytes]


class Hub:
    """The state: for each repository its branches, and the files of each commit."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, Files]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.private: set[str] = set()
        self.stored: dict[str, bytes] = {}  # large files, by their hashes
        self.asked: list[str] = []  # method and path of each request
        self.broken = False

    def commit(self, repo: str, files: Files, branch: str = "main") -> str:
        sha = hashlib.sha1(repr((branch, sorted(files.items()))).encode()).hexdigest()
        self.commits.setdefault(repo, {})[sha] = files
        self.branches.setdefault(repo, {})[branch] = sha
        return sha

    def files(self, repo: str, branch: str = "main") -> Files:
        return self.commits[repo][self.branches[repo][branch]]


class Handler(BaseHTTPRequestHandler):
    """The protocol."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.route({r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?": self.info,
                    r"/api/models/([^/]+/[^/]+)/tree/(.+)": self.tree,
                    r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)": self.resolve})  # fmt: skip

    do_HEAD = do_GET

    def do_POST(self) -> None:
        routes = {r"/api/validate-yaml": self.validate, r"/api/repos/create": self.create,
                  r"/api/models/([^/]+/[^/]+)/branch/(.+)": self.branch,
                  r"/api/models/([^/]+/[^/]+)/preupload/(.+)": self.preupload,
                  r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch": self.batch,
                  r"/api/models/([^/]+/[^/]+)/commit/(.+)": self.commit}  # fmt: skip
        self.route(routes)

    def do_PUT(self) -> None:
        self.route({r"/stored/(\w+)": self.store})

    def route(self, routes: dict) -> None:
        path = urlsplit(self.path).path
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append(f"{self.command} {path}")
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.hub.broken:
            return self.answer(500, {})
        if token not in ("", TOKEN):
            return self.refuse(401, message="Invalid credentials in Authorization header")
        if self.command == "POST" and not token:
            return self.refuse(401, message="Invalid username or password.")
        for pattern, handle in routes.items():
            if found := re.fullmatch(pattern, path):
                repo, *rest = [unquote(part or "main") for part in found.groups()] or [""]
                if repo in self.hub.private and not token:
                    return self.refuse(401, "RepoNotFound")
                return handle(repo, *rest) if found.groups() else handle()
        return self.refuse(404, "RepoNotFound")

    def answer(self, status: int, content: dict | list | bytes, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str = "", message: str = "") -> None:
        self.answer(status, {"error": message or code}, X_Error_Code=code, X_Error_Message=message or code)

    def found(self, repo: str, revision: str) -> str | None:
        """The commit that a revision names; None, and refused, where there is none."""
        if repo not in self.hub.commits:
            self.refuse(404, "RepoNotFound")
            return None
        sha = self.hub.branches[repo].get(revision, revision)
        if sha not in self.hub.commits[repo]:
            self.refuse(404, "RevisionNotFound")
            return None
        return sha

    def info(self, repo: str, revision: str) -> None:
        if sha := self.found(repo, revision):
            files = [{"rfilename": name, "size": len(data)} for name, data in self.hub.commits[repo][sha].items()]
            self.answer(200, {"id": repo, "sha": sha, "private": repo in self.hub.private, "siblings": files})

    def tree(self, repo: str, revision: str) -> None:
        if sha := self.found(repo, revision):
            files = self.hub.commits[repo][sha].items()
            self.answer(200, [{"type": "file", "path": n, "size": len(d), "oid": etag(d)} for n, d in files])

    def resolve(self, repo: str, revision: str, name: str) -> None:
        if sha := self.found(repo, revision):
            data = self.hub.commits[repo][sha].get(name)
            if data is None:
                return self.refuse(404, "EntryNotFound")
            self.answer(200, data, X_Repo_Commit=sha, ETag=f'"{etag(data)}"')

    def validate(self) -> None:
        self.answer(200, {"errors": [], "warnings": []})

    def create(self) -> None:
        asked = json.loads(self.body)
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.hub.commits:
            where = f"{huggingface_hub.constants.ENDPOINT}/{repo}"
            return self.answer(409, {"error": "You already created this model repo", "url": where})
        self.hub.commit(repo, {".gitattributes": b"*.safetensors filter=lfs"})
        if asked.get("visibility") == "private" or asked.get("private"):
            self.hub.private.add(repo)
        self.answer(200, {"url": f"{huggingface_hub.constants.ENDPOINT}/{repo}"})

    def branch(self, repo: str, branch: str) -> None:
        if branch in self.hub.branches[repo]:
            return self.answer(409, {"error": "Reference already exists"})
        self.hub.commit(repo, self.hub.files(repo), branch)
        self.answer(200, {})

    def preupload(self, repo: str, _branch: str) -> None:
        names = [file["path"] for file in json.loads(self.body)["files"]]
        large = (".safetensors", ".png")
        modes = [
            {"path": n, "uploadMode": "lfs" if n.endswith(large) else "regular", "shouldIgnore": False} for n in names
        ]
        self.answer(200, {"files": modes})

    def batch(self, _repo: str) -> None:
        objects = json.loads(self.body)["objects"]
        where = f"{huggingface_hub.constants.ENDPOINT}/stored"
        actions = [one | {"actions": {"upload": {"href": f"{where}/{one['oid']}"}}} for one in objects]
        self.answer(200, {"transfer": "basic", "objects": actions})

    def store(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.stored[oid] = self.body
        self.answer(200, b"")

    def commit(self, repo: str, branch: str) -> None:
        files = dict(self.hub.files(repo, branch))
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        sha = self.hub.commit(repo, files, branch)
        self.answer(200, {"commitUrl": f"{huggingface_hub.constants.ENDPOINT}/{repo}/commit/{sha}", "commitOid": sha})


def etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextlib.contextmanager
def running_hub(cache: str, patch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that listens, which huggingface_hub then asks."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    settings = {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_CACHE": cache,
        "HF_HUB_DISABLE_XET": True,
    }
    for name, value in settings.items():
        patch.setattr(huggingface_hub.constants, name, value)
    patch.setenv("HF_TOKEN", TOKEN)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

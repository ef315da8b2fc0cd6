"""A server that answers as Google Cloud Storage does, from this process.

It speaks as much of the JSON API as gcsfs and TensorStore ask for, so that
both are what they are in a real run. An object is there as a whole when its
upload is finished, and not before.
"""

import base64
import collections
import contextlib
import datetime
import hashlib
import itertools
import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from http import server
from typing import Any

import google_crc32c

_OBJECT = re.compile(
  r"/(?:download/)?storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)"
  r"(?:/(?:copyTo|rewriteTo)/b/(?P<bucket_to>[^/]+)|/moveTo)?"
  r"(?:/o/(?P<name_to>[^/]+))?"
)
_LIST = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o")
_BUCKET = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)")
_UPLOAD = re.compile(r"/(?:resumable/)?upload/storage/v1/b/(?P<bucket>[^/]+)/o")


class Bucket:
  """The objects of one bucket, and what was asked of it.

  Attributes:
    address: of the server, `http://127.0.0.1:PORT`.
    objects: name -> bytes and what the API tells of them.
    asked: requests so far, as `POST name`: the method and the object; `READ`
      for what is in one, and `GET` for what is told of it.
    fault: given a method and the name of an object, the status with which to
      refuse the request, or None; it may kill the client, or wait.
  """

  def __init__(self, name: str):
    self.name, self.address = name, ""
    self.objects: dict[str, tuple[bytes, dict[str, Any]]] = {}
    self.asked: list[str] = []
    self.fault: Callable[[str, str], int | None] = lambda method, name: None
    self.uploads: dict[str, Any] = {}
    self.numbers = itertools.count(1)
    self.lock = threading.RLock()

  def clear(self) -> None:
    """Forgets all objects, requests and faults."""
    with self.lock:
      self.objects.clear()
      self.uploads.clear()
      self.asked.clear()
      self.fault = lambda method, name: None

  def content(self, name: str) -> bytes:
    """The bytes of an object."""
    return self.objects[name][0]

  def put(self, name: str, content: bytes) -> dict[str, Any]:
    """Makes an object, or another generation of it."""
    now = datetime.datetime.now(datetime.UTC).isoformat()
    crc = google_crc32c.value(content).to_bytes(4, "big")
    about = {
      "kind": "storage#object",
      "bucket": self.name,
      "name": name,
      "size": str(len(content)),
      "generation": str(next(self.numbers)),
      "metageneration": "1",
      "crc32c": base64.b64encode(crc).decode(),
      "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
      "updated": now.replace("+00:00", "Z"),
      "timeCreated": now.replace("+00:00", "Z"),
    }
    self.objects[name] = content, about
    return about

  def names(self, prefix: str = "") -> list[str]:
    """Names of objects that begin so, sorted."""
    with self.lock:
      return sorted(name for name in self.objects if name.startswith(prefix))


@contextlib.contextmanager
def serve(name: str) -> Iterator[Bucket]:
  """Yields an empty bucket that is served to the end of the block."""
  bucket = Bucket(name)
  kind = type("_Handler", (_Handler,), {"bucket": bucket})
  served = server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
  served.daemon_threads = True
  bucket.address = f"http://127.0.0.1:{served.server_address[1]}"
  thread = threading.Thread(
    target=served.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
  )
  thread.start()
  try:
    yield bucket
  finally:
    served.shutdown()
    thread.join()
    served.server_close()


def environment(bucket: Bucket) -> dict[str, str]:
  """What gcsfs and TensorStore read to find the server, without a key."""
  return {
    "STORAGE_EMULATOR_HOST": bucket.address,
    "TENSORSTORE_GCS_HTTP_URL": bucket.address,
    "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
    "GOOGLE_CLOUD_PROJECT": "project",
  }


class _Refused(Exception):
  """A request that is answered with a status and no more."""


class _Handler(server.BaseHTTPRequestHandler):
  """One request at a time of one connection."""

  protocol_version = "HTTP/1.1"
  # Headers and body are two packets: the second would wait for the first.
  disable_nagle_algorithm = True
  bucket: Bucket

  def do_GET(self) -> None:
    self._answer("GET")

  def do_POST(self) -> None:
    self._answer("POST")

  def do_PUT(self) -> None:
    self._answer("PUT")

  def do_DELETE(self) -> None:
    self._answer("DELETE")

  def handle(self) -> None:
    with contextlib.suppress(ConnectionError):  # Of a client that was killed.
      super().handle()

  def log_message(self, *_: Any) -> None:
    pass

  def _answer(self, method: str) -> None:
    length = int(self.headers.get("Content-Length") or 0)
    body = self.rfile.read(length)
    if len(body) < length:
      return  # Of a client that was killed: a half of an object is none.
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    extra: dict[str, str] = {}
    try:
      status, content = self._route(method, url.path, query, body, extra)
    except _Refused as refused:
      status = refused.args[0]
      content = {"error": {"code": status, "message": f"refused: {url.path}"}}
    if not isinstance(content, bytes):
      content = json.dumps(content).encode()
      extra["Content-Type"] = "application/json; charset=UTF-8"
    with contextlib.suppress(ConnectionError):  # It may be dead by now.
      self.send_response(status)
      for name, value in extra.items():
        self.send_header(name, value)
      self.send_header("Content-Length", str(len(content)))
      self.end_headers()
      self.wfile.write(content)

  def _route(
    self,
    method: str,
    path: str,
    query: dict[str, str],
    body: bytes,
    extra: dict[str, str],
  ) -> tuple[int, Any]:
    for pattern, handle in (
      (_UPLOAD, self._upload),
      (_OBJECT, self._object),
      (_LIST, self._list),
      (_BUCKET, self._about),
    ):
      found = pattern.fullmatch(path)
      if found:
        words = {
          name: urllib.parse.unquote(word)
          for name, word in found.groupdict().items()
          if word is not None
        }
        name = words.get("name") or query.get("name") or query.get("prefix", "")
        if query.get("upload_id"):
          name = self.bucket.uploads[query["upload_id"]][0]
        asked = "READ" if query.get("alt") == "media" else method
        self.bucket.asked.append(f"{asked} {name}")
        status = self.bucket.fault(method, name)
        if status:
          raise _Refused(status)
        if words["bucket"] != self.bucket.name:
          raise _Refused(404)
        with self.bucket.lock:
          return handle(method, words, query, body, extra)
    raise _Refused(501)

  def _about(self, method: str, words, query, body, extra) -> tuple[int, Any]:
    return 200, {"kind": "storage#bucket", "name": self.bucket.name}

  def _check(self, name: str, query: dict[str, str]) -> None:
    """Refuses where an object is not of the generation that is meant."""
    _, about = self.bucket.objects.get(name, (b"", {"generation": "0"}))
    if (
      query.get("ifGenerationMatch", about["generation"])
      != (about["generation"])
    ):
      raise _Refused(412)

  def _object(self, method: str, words, query, body, extra) -> tuple[int, Any]:
    name, objects = words["name"], self.bucket.objects
    self._check(name, query)
    if name not in objects:
      raise _Refused(404)
    content, about = objects[name]
    if method == "DELETE":
      del objects[name]
      return 204, b""
    if method == "POST":
      copied = self.bucket.put(words["name_to"], content)
      if words.get("bucket_to") is None:  # Moved.
        del objects[name]
      return 200, {"done": True, "resource": copied, **copied}
    if query.get("alt") != "media":
      return 200, about
    if query.get("ifGenerationNotMatch") == about["generation"]:
      return 304, b""
    extra["x-goog-generation"] = about["generation"]
    extra["x-goog-hash"] = f"crc32c={about['crc32c']},md5={about['md5Hash']}"
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
    if not wanted:
      return 200, content
    start, end = int(wanted[1]), int(wanted[2] or len(content) - 1)
    if start >= len(content):
      raise _Refused(416)
    part = content[start : end + 1]
    last = start + len(part) - 1
    extra["Content-Range"] = f"bytes {start}-{last}/{len(content)}"
    return 206, part

  def _list(self, method: str, words, query, body, extra) -> tuple[int, Any]:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
    start, end = query.get("startOffset", ""), query.get("endOffset")
    found: dict[str, Any] = collections.OrderedDict()
    for name in self.bucket.names(prefix):
      if name < start or (end and name >= end):
        continue
      inside = name[len(prefix) :]
      if delimiter and delimiter in inside:
        found[prefix + inside.partition(delimiter)[0] + delimiter] = None
      else:
        found[name] = self.bucket.objects[name][1]
    first, size = query.get("pageToken", ""), int(query.get("maxResults", 1000))
    page = [name for name in found if name > first]
    answer: dict[str, Any] = {"kind": "storage#objects"}
    if len(page) > size:
      answer["nextPageToken"] = page[size - 1]
    answer["items"] = [found[name] for name in page[:size] if found[name]]
    answer["prefixes"] = [name for name in page[:size] if not found[name]]
    return 200, answer

  def _upload(self, method: str, words, query, body, extra) -> tuple[int, Any]:
    uploads, number = self.bucket.uploads, query.get("upload_id")
    if number is not None and method == "DELETE":
      del uploads[number]
      return 499, b""
    if number is not None:
      name, whole = uploads[number]
      match = re.fullmatch(
        r"bytes (\*|\d+-\d+)/(\*|\d+)", self.headers["Content-Range"]
      )
      whole += body
      if match[2] == "*":
        assert not len(whole) % 2**18, "no multiple of 256 KiB"
        extra["Range"] = f"bytes=0-{len(whole) - 1}"
        return 308, b""
      assert int(match[2]) == len(whole)
      del uploads[number]
      return 200, self.bucket.put(name, bytes(whole))
    if query["uploadType"] == "resumable":
      name = query.get("name") or json.loads(body)["name"]
      self._check(name, query)
      number = str(next(self.bucket.numbers))
      uploads[number] = name, bytearray()
      extra["Location"] = (
        f"{self.bucket.address}/upload/storage/v1/b/{words['bucket']}/o"
        f"?uploadType=resumable&upload_id={number}"
      )
      return 200, b""
    if query["uploadType"] == "media":
      self._check(query["name"], query)
      return 200, self.bucket.put(query["name"], body)
    boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])
    _, about, content, *_ = body.split(b"--" + boundary[1].encode())
    name = json.loads(about.partition(b"{")[2].join([b"{", b""]))["name"]
    self._check(name, query)
    head = re.search(rb"\r?\n\r?\n", content)
    return 200, self.bucket.put(
      name, re.sub(rb"\r?\n$", b"", content[head.end() :])
    )

"""A page in Chromium, looked at when it is in some state, however long it took.

Chromium's own --dump-dom and --screenshot wait for a time, and a page that
unpacks its data in another thread may need more under load.
"""

import base64
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

# Until a page is as wanted, on a machine that does much else.
_SECONDS = 240
# The promise of a state, looked for in each frame, and of two frames after it.
_UNTIL = """new Promise((done) => {
  const frame = requestAnimationFrame;
  const look = () => (%s) ? frame(() => frame(() => done(true))) : frame(look);
  look();
})"""


class Page:
  """A page that is open; commands are those of Chromium's DevTools."""

  def __init__(self, read: Any, write: Any) -> None:
    """Opens an empty page; messages end with a null byte."""
    self._read, self._write, self._session = read, write, ""
    self._numbers = itertools.count(1)
    target = self._call("Target.createTarget", url="about:blank")["targetId"]
    self._session = self._call(
      "Target.attachToTarget", targetId=target, flatten=True
    )["sessionId"]

  def _call(self, method: str, **params: Any) -> dict[str, Any]:
    number = next(self._numbers)
    message = {"id": number, "method": method, "params": params}
    if self._session:
      message["sessionId"] = self._session
    self._write.write(json.dumps(message).encode() + b"\0")
    self._write.flush()
    while True:  # What else is told is of no interest.
      text = bytearray()
      while (byte := self._read.read(1)) != b"\0":
        assert byte, "Chromium has ended"
        text += byte
      answer = json.loads(text)
      if answer.get("id") == number:
        assert "error" not in answer, answer
        return answer["result"]

  def value(self, script: str) -> Any:
    """What a script gives; of a promise, once it is kept."""
    found = self._call(
      "Runtime.evaluate",
      expression=script,
      awaitPromise=True,
      returnByValue=True,
    )
    assert "exceptionDetails" not in found, found
    return found["result"].get("value")

  def open(self, place: str, *, until: str) -> None:
    """Opens a page, and waits until a condition of JavaScript holds."""
    self._call("Page.enable")
    self._call("Page.navigate", url=place)
    self.value(_UNTIL % f"document.readyState === 'complete' && ({until})")

  def dom(self) -> str:
    """The page as it is now, as HTML."""
    return self.value("document.documentElement.outerHTML")

  def screenshot(self, path: pathlib.Path) -> None:
    """Writes what is seen of the page as a PNG."""
    shot = self._call("Page.captureScreenshot", format="png")
    path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def page(profile: pathlib.Path, *flags: str) -> Iterator[Page]:
  """Yields a page of a browser of its own; skips the test without one."""
  browser = shutil.which("chromium") or shutil.which("google-chrome")
  if browser is None:
    pytest.skip("no Chromium on the PATH")
  to_read, to_write = os.pipe(), os.pipe()  # Its descriptors 3 and 4.
  command = [
    *(browser, "--headless", "--no-sandbox", "--disable-gpu"),
    *(f"--user-data-dir={profile}", "--remote-debugging-pipe", *flags),
  ]
  ends = to_read[0], to_write[1]
  wrapped = f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}'
  process = subprocess.Popen(
    ["timeout", str(_SECONDS), "bash", "-c", wrapped, "bash", *command],
    pass_fds=ends,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  for end in ends:
    os.close(end)
  with open(to_write[0], "rb") as read, open(to_read[1], "wb") as write:
    try:
      yield Page(read, write)
    finally:
      process.terminate()
      process.wait()

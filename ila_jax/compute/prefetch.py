"""A thread that makes items ahead of their reader: reads, tokenizes, copies."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_END = object()


def ahead(items: Iterable[T], *, depth: int = 2) -> Iterator[T]:
  """Yields the items in their order; a thread makes the next ones meanwhile.

  Args:
    items: made one by one in the thread; what that raises is raised here.
    depth: items that wait, at most; one more is in the making.

  >>> list(ahead(range(3)))
  [0, 1, 2]
  """
  ready: queue.Queue = queue.Queue(depth)
  stopped = threading.Event()

  def put(item: tuple) -> bool:
    while not stopped.is_set():
      try:
        ready.put(item, timeout=0.1)
        return True
      except queue.Full:
        continue
    return False

  def work() -> None:
    try:
      for item in items:
        if not put((item, None)):
          return
      put((_END, None))
    except BaseException as error:
      put((_END, error))

  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  try:
    while True:
      item, error = ready.get()
      if error is not None:
        raise error
      if item is _END:
        return
      yield item
  finally:
    # Whoever stops early does not leave a thread behind.
    stopped.set()
    thread.join()

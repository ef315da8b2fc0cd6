"""Slices are asked for, lost and given back: gcloud and kubectl are made up."""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import time

import pytest
import yaml

from tests.support import stand_ins

CHECKOUT = stand_ins.CHECKOUT
_SYSTEM = (
  *("bash", "cat", "dirname", "grep", "head", "mkdir", "mktemp", "rm", "sed"),
  *("sleep", "tail", "tar"),
)
# A queue in which a request waits, is served, and may be preempted while it is
# used: RUNS has, for each run, its status or how the slice was lost.
_GCLOUD = r"""
cd "$HOME"
case "$*" in
  *"queued-resources list"*)
    [ "${BROKEN:-}" != list ] || { echo "no account" >&2; exit 1; }
    cat state 2>/dev/null
    case "$(cat state 2>/dev/null)" in
      WAITING_FOR_RESOURCES) echo PROVISIONING > state ;;
      PROVISIONING) echo "${SERVED:-ACTIVE}" > state ;;
      SUSPENDING) echo SUSPENDED > state ;;
    esac ;;
  *"queued-resources create"*)
    echo WAITING_FOR_RESOURCES > state; echo READY > vm ;;
  *"queued-resources delete"*)
    [ "${BROKEN:-}" != delete ] || exit 1; rm -f state vm ;;
  *"tpu-vm list"*)
    [ ! -f unknown ] || { rm unknown; exit 1; }
    cat vm 2>/dev/null ;;
  *"tpu-vm ssh"*)
    how="$(head -n 1 runs)"; sed -i 1d runs
    case "$how" in
      suspended) echo SUSPENDING > state; exit 255 ;;
      preempted) echo PREEMPTED > vm; exit 1 ;;
      deleted) rm state vm; exit 255 ;;
      # So does the way to gcloud's servers, once.
      broken) touch unknown; exit 255 ;;
      waits) exec sleep 30 ;;
      *) exit "$how" ;;
    esac ;;
esac
"""
_QUEUE = {
  **{"TPU": "slice", "ZONE": "z", "TYPE": "v5litepod-64"},
  **{"POLL_SECONDS": "0", "TRIES": "3"},
}
_FLAGS = ("--config", "a b.py", "--workdir", "gs://b/w")


@pytest.fixture
def queue(tmp_path):
  """Runs launch/tpu_queue.sh; how it ended, and what gcloud was asked."""
  path, log = stand_ins.folder(
    tmp_path / "tools", *_SYSTEM, gcloud=_GCLOUD, git=""
  )

  def start(*flags, runs="0", **environment):
    (tmp_path / "runs").write_text("".join(f"{how}\n" for how in runs.split()))
    done = stand_ins.call(
      *("bash", "launch/tpu_queue.sh", *flags),
      path=path,
      log=log,
      **_QUEUE | environment,
    )
    calls = log.read_text().splitlines()
    verbs = [
      found[1]
      for line in calls
      if (found := re.search(r" (create|delete|scp|ssh) ", line))
    ]
    return done, verbs, calls

  return start


def test_a_slice_is_asked_for_used_and_given_back(queue):
  done, verbs, calls = queue(*_FLAGS, SPOT="yes", PROJECT="p")
  assert done.returncode == 0, done.stderr
  assert verbs == ["create", "scp", "ssh", "delete"]
  (created,) = [line for line in calls if " create " in line]
  assert created == (
    "gcloud compute tpus queued-resources create slice --node-id=slice "
    "--accelerator-type=v5litepod-64 --runtime-version=v2-alpha-tpuv5-lite "
    "--zone z --project p --spot"
  )
  (deleted,) = [line for line in calls if " delete " in line]
  assert deleted.endswith("delete slice --force --quiet --zone z --project p")
  said = re.findall(r"slice (\w+)$", done.stderr, re.M)
  assert said == ["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]


@pytest.mark.parametrize(
  ("runs", "status", "verbs"),
  [
    # Lost in both ways, one after the other: two more are asked for.
    ("suspended preempted 0", 0, ["create", "scp", "ssh", "delete"] * 3),
    # Somebody gave it back: it costs nothing from then on.
    ("deleted", 143, ["create", "scp", "ssh"]),
    # A connection broke: the same slice is joined again.
    ("255 75 0", 0, ["create", *["scp", "ssh"] * 3, "delete"]),
    # Nothing is deleted while nobody knows.
    ("broken 0", 0, ["create", *["scp", "ssh"] * 2, "delete"]),
    # Another start is of no use: the slice is not kept.
    ("2", 2, ["create", "scp", "ssh", "delete"]),
    ("1", 1, ["create", "scp", "ssh", "delete"]),
    ("75 75 75", 75, ["create", *["scp", "ssh"] * 3, "delete"]),
    # A slice that was lost begins a new row.
    ("75 75 suspended 75 0", 0, [
      *["create", *["scp", "ssh"] * 3, "delete"],
      *["create", *["scp", "ssh"] * 2, "delete"],
    ]),
  ],
)  # fmt: skip
def test_what_ends_a_run_decides_what_follows(queue, runs, status, verbs):
  done, called, _ = queue(*_FLAGS, runs=runs)
  assert (done.returncode, called) == (status, verbs), done.stderr


def test_a_slice_that_is_to_be_kept_is_kept(queue):
  done, verbs, _ = queue(*_FLAGS, KEEP="yes")
  assert (done.returncode, verbs) == (0, ["create", "scp", "ssh"])
  # It is joined, and given back by hand.
  done, verbs, _ = queue(*_FLAGS, KEEP="yes")
  assert verbs == ["create", *["scp", "ssh"] * 2]
  assert queue("--delete")[1][-1] == "delete"


def test_a_request_that_fails_is_made_again_and_given_up(queue):
  done, verbs, _ = queue(*_FLAGS, SERVED="FAILED")
  assert done.returncode == 1
  assert verbs == ["create", "delete"] * 3
  assert "the request for slice failed, failure 3 of 3" in done.stderr


def test_an_error_of_gcloud_is_no_missing_slice(queue):
  done, verbs, _ = queue(*_FLAGS, BROKEN="list")
  assert done.returncode == 1 and not verbs
  assert done.stderr.count("no account") == 3
  assert "slice stays, and costs money" in done.stderr


def test_what_cannot_be_deleted_is_told(queue):
  done, _, _ = queue(*_FLAGS, BROKEN="delete")
  assert done.returncode == 1
  assert "slice could not be deleted, and may go on to cost" in done.stderr


def test_stopped_it_leaves_the_slice_and_says_so(queue, tmp_path):
  (tmp_path / "runs").write_text("waits\n")
  tools = {"PATH": str(tmp_path / "tools"), "LOG": str(tmp_path / "log")}
  with subprocess.Popen(
    ["bash", "launch/tpu_queue.sh", *_FLAGS],
    cwd=CHECKOUT,
    env={**_QUEUE, **tools, "HOME": str(tmp_path)},
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  ) as run:
    while " ssh " not in (tmp_path / "log").read_text():
      time.sleep(0.05)
    # To all that runs in the foreground, as Ctrl-C does it; but that one may be
    # ignored where the tests run in the background.
    os.killpg(run.pid, signal.SIGTERM)
    said = run.stderr.read()
  assert run.returncode == 143
  assert "slice stays, and costs money. The same command goes on" in said
  assert " delete " not in (tmp_path / "log").read_text()


def test_the_dry_run_of_the_queue_calls_nothing(queue):
  done, _, calls = queue(
    "--dry-run", *_FLAGS, REQUEST="--reserved --valid-until-duration=6h"
  )
  assert (done.returncode, calls) == (0, []), done.stderr
  printed = [
    line for line in done.stdout.splitlines() if line.startswith("gcloud")
  ]
  create, listed, scp, ssh, delete = map(shlex.split, printed)
  assert create[-2:] == ["--reserved", "--valid-until-duration=6h"]
  assert listed[4] == "list" and delete[4] == "delete"
  assert scp[4] == "scp" and ssh[4] == "ssh"


@pytest.mark.parametrize(
  ("environment", "said"),
  [
    ({"TYPE": ""}, "TYPE is not set"),
    ({"TPU": ""}, "TPU is not set"),
    ({"TYPE": "v9-8"}, "RUNTIME is not set"),
  ],
)
def test_what_the_queue_is_not_asked_for(queue, environment, said):
  done, _, calls = queue(*_FLAGS, **environment)
  assert (done.returncode, calls) == (2, [])
  assert said in done.stderr


def test_other_software_can_be_named(queue):
  done, _, calls = queue(*_FLAGS, TYPE="v9-8", RUNTIME="new")
  assert done.returncode == 0, done.stderr
  assert any("--runtime-version=new" in line for line in calls)


# What a host does.


@pytest.fixture
def host(tmp_path):
  def start(*words):
    return subprocess.Popen(
      ["bash", str(CHECKOUT / "launch/host.sh"), *words],
      cwd=tmp_path,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )

  return start


_WAITS = (
  *("bash", "-c"),
  'trap "echo saved; exit 143" TERM; echo ready; while :; do sleep 0.1; done',
)


def test_a_run_outlives_its_connection_and_is_joined(host):
  def ended(process):
    out, err = process.communicate(timeout=20)
    return process.returncode, out + err

  first = host("run", *_WAITS)
  assert first.stdout.readline() == "ready\n"
  # As a connection that breaks: all that it has begun is ended with it.
  os.killpg(first.pid, signal.SIGKILL)
  first.communicate(timeout=10)
  assert ended(host("running"))[0] == 0
  status, said = ended(host("run", "true"))
  assert status == 2 and "another run goes on here: bash" in said
  again = host("run", *_WAITS)
  assert again.stdout.readline() == "ready\n"
  assert ended(host("stop"))[0] == 0
  status, said = ended(again)
  assert status == 143 and "saved\n" in said
  assert ended(host("running"))[0] == 1
  assert ended(host("stop"))[0] == 0


@pytest.mark.parametrize("status", [0, 2, 75])
def test_a_host_ends_with_the_status_of_its_run(host, status):
  run = host("run", "bash", "-c", f"echo out; echo err >&2; exit {status}")
  assert run.communicate(timeout=10)[0] == "out\nerr\n"
  assert run.returncode == status


def test_all_hosts_can_be_stopped(queue, tmp_path):
  done = stand_ins.call(
    *("bash", "launch/tpu_pod.sh", "--dry-run", "--stop"),
    path=str(tmp_path / "tools"),
    log=tmp_path / "log",
    **{"TPU": "slice", "ZONE": "z"},
  )
  (words,) = map(shlex.split, done.stdout.splitlines())
  assert "--worker=all" in words
  assert words[-1] == "cd ila_jax && bash launch/host.sh stop"


# GKE.

_KUBECTL = r"""
cd "$HOME"
case "$*" in
  create*) cp "${@: -1}" manifest.yaml; echo jobset > there ;;
  delete*) rm -f there ;;
  *"-o name") [ "${BROKEN:-}" != kubectl ] || exit 9; cat there 2>/dev/null ;;
  get*)
    [ -f there ] || exit 0
    how="$(head -n 1 looks)"; sed -i 1d looks
    [ "$how" != broken ] || exit 1
    [ "$how" != gone ] || exit 0
    echo "JobSet ${how#running}" ;;
esac
exit 0
"""
_SLICE = {"ACCELERATOR": "tpu-v5-lite-podslice", "TOPOLOGY": "8x8"}


@pytest.fixture
def gke(tmp_path):
  """Runs launch/gke.sh; how it ended, and what was asked."""
  path, log = stand_ins.folder(
    *(tmp_path / "tools", *_SYSTEM, "cp", "git"),
    kubectl=_KUBECTL,
    docker='[ "${BROKEN:-}" != "$1" ] || exit 9\n[ "$1" != build ] || '
    '[ -f "${@: -1}/ila_jax/main.py" ] || exit 8',
  )

  def start(*flags, looks="running Completed", **environment):
    (tmp_path / "looks").write_text("".join(f"{it}\n" for it in looks.split()))
    done = stand_ins.call(
      *("bash", "launch/gke.sh", *flags),
      path=path,
      log=log,
      **_SLICE | {"IMAGE": "r/ila", "POLL_SECONDS": "0"} | environment,
    )
    return done, log.read_text().splitlines()

  return start


def _manifest(folder: pathlib.Path) -> dict:
  return yaml.safe_load((folder / "manifest.yaml").read_text())


def test_a_set_of_jobs_is_made_started_and_waited_for(gke, tmp_path):
  odd = '--config.pool.source=a "b\\ & ${NAME} $(HOME)'
  done, calls = gke(*_FLAGS, odd, looks="running broken running Completed")
  assert done.returncode == 0, done.stderr
  verbs = [" ".join(line.split()[:2]) for line in calls]
  assert verbs == [
    *("kubectl get", "docker build", "docker push", "kubectl create"),
    *["kubectl get"] * 4,
    *("kubectl logs", "kubectl delete"),
  ]
  found = _manifest(tmp_path)
  assert found["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
  assert found["spec"]["failurePolicy"]["maxRestarts"] == 50
  (slices,) = found["spec"]["replicatedJobs"]
  job = slices["template"]["spec"]
  assert job["parallelism"] == job["completions"] == 16
  assert job["backoffLimit"] == 0
  (rule,) = job["podFailurePolicy"]["rules"]
  pod = job["template"]["spec"]
  (container,) = pod["containers"]
  # What launch/supervise.sh takes for over is over here.
  over = (CHECKOUT / "launch/supervise.sh").read_text()
  (statuses,) = re.findall(r"case \"\$status\" in (.*?)\) exit", over)
  assert rule["onExitCodes"] == {
    "containerName": container["name"],
    "operator": "In",
    "values": [int(s) for s in statuses.split(" | ") if s != "0"],
  }
  assert pod["restartPolicy"] == "Never"
  assert pod["nodeSelector"] == {
    "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
    "cloud.google.com/gke-tpu-topology": "8x8",
  }
  assert container["resources"] == {"limits": {"google.com/tpu": 4}}
  # $(HOME) is a variable for Kubernetes, and $$(HOME) none.
  assert container["args"] == [
    *("--distributed", *_FLAGS, odd.replace("$(", "$$(")),
  ]
  built = next(line for line in calls if "docker build" in line)
  assert container["image"] == built.split(" -t ")[1].split()[0]
  assert re.fullmatch(r"r/ila:[0-9a-f]{7,}", container["image"])


@pytest.mark.parametrize(
  ("looks", "status", "said"),
  [("running Failed", 1, "ila: Failed"), ("running gone", 1, "ila: gone")],
)
def test_a_set_of_jobs_that_fails_is_told(gke, looks, status, said):
  done, _ = gke(*_FLAGS, looks=looks)
  assert done.returncode == status
  assert said in done.stderr


def test_a_set_of_jobs_that_is_there_is_waited_for(gke, tmp_path):
  (tmp_path / "there").write_text("jobset")
  done, calls = gke(*_FLAGS)
  assert done.returncode == 0
  assert not [line for line in calls if "docker" in line or "create" in line]


@pytest.mark.parametrize("broken", ["kubectl", "build", "push"])
def test_without_cluster_or_image_nothing_starts(gke, broken):
  done, calls = gke(*_FLAGS, BROKEN=broken)
  assert done.returncode == 9
  assert not [line for line in calls if "create" in line]


def test_the_dry_run_on_gke_calls_nothing(gke):
  done, calls = gke("--dry-run", *_FLAGS, TOPOLOGY="2x2x1")
  assert (done.returncode, calls) == (0, []), done.stderr
  before, _, rest = done.stdout.partition("apiVersion")
  words = [line.split()[0] for line in before.splitlines()]
  assert words == ["git", "tar", "docker", "docker", "kubectl"]
  found = yaml.safe_load("apiVersion" + rest.partition("\nkubectl")[0])
  (slices,) = found["spec"]["replicatedJobs"]
  job = slices["template"]["spec"]
  # One host has nobody to join.
  assert job["completions"] == 1
  assert job["template"]["spec"]["containers"][0]["args"] == list(_FLAGS)


@pytest.mark.parametrize(
  ("flags", "environment", "said"),
  [
    (_FLAGS, {"IMAGE": ""}, "IMAGE is not set"),
    (_FLAGS, {"TOPOLOGY": "8y8"}, "TOPOLOGY is '8y8'"),
    (_FLAGS, {"TOPOLOGY": "3x3"}, "3x3 has 9 chips, which are not whole hosts"),
    (("--workdir", "/tmp/w"), {}, "must be a gs:// folder"),
    ((*_FLAGS, "--redo=pool"), {}, "--redo would be done at every start"),
    ((*_FLAGS, "a\nb"), {}, "has a line break"),
  ],
)
def test_what_gke_is_not_asked_for(gke, flags, environment, said):
  done, calls = gke(*flags, **environment)
  assert (done.returncode, calls) == (2, [])
  assert said in done.stderr


def test_the_image_has_what_the_manifest_calls():
  text = (CHECKOUT / "launch/gke/Dockerfile").read_text()
  assert 'ENTRYPOINT ["python", "-m", "ila_jax"]' in text
  copied = re.findall(r"^COPY (\S+) ", text, re.M)
  assert all((CHECKOUT / name).exists() for name in copied)
  for line in (
    'RUN pip install --no-cache-dir --editable ".[${EXTRA}]"',
    "ARG EXTRA=tpu,gcs",
  ):
    assert line in text

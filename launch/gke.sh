#!/usr/bin/env bash
# A TPU slice of a GKE cluster that has JobSet, from the machine where you run
# kubectl:
#   IMAGE=REGION-docker.pkg.dev/PROJECT/REPOSITORY/ila_jax \
#     ACCELERATOR=tpu-v5-lite-podslice TOPOLOGY=8x8 bash launch/gke.sh [--dry-run] \
#     --config configs/qwen2_7b.py --workdir gs://BUCKET/runs/first ...
#   NAME=ila bash launch/gke.sh [--dry-run] --delete
# Makes an image of this checkout as it is committed, pushes it, and starts
# launch/gke/jobset.yaml with it: a pod on each host, all of them again after a
# preemption or a dead process. Waits for the end; stopped, it leaves the run to
# the cluster, and the same command waits again. Environment:
#   IMAGE, ACCELERATOR, TOPOLOGY   as above
#   NAME=ila               of the JobSet
#   CHIPS=4                a host, as its machine type has them
#   SERVICE_ACCOUNT=default  of Kubernetes, which may write to the bucket
#   RESTARTS=50            after which the set has failed
#   POLL_SECONDS=30        between two looks at it
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/calls.sh
name="${NAME:-ila}"
delete() {
  call kubectl delete jobset "$name" --ignore-not-found
}
if [ "$1" = --delete ]; then
  delete
  exit
fi
needs IMAGE "a repository that the cluster can pull from"
needs ACCELERATOR "tpu-v5-lite-podslice, tpu-v5p-slice or tpu-v6e-slice"
needs TOPOLOGY "8x8 has 64 chips"
needs_bucket "the pods share no disk." "$@"
case " $* " in
  *" --redo"* | *" -redo"*)
    echo "$(program): --redo would be done at every start. Run it once elsewhere," \
      "until its stage has begun." >&2
    exit 2
    ;;
esac
chips="${CHIPS:-4}"
case "$TOPOLOGY:$chips" in
  *[!0-9x:]* | x* | *x:* | *xx* | *: | *:0*)
    echo "$(program): TOPOLOGY is '$TOPOLOGY' and CHIPS '$chips'; allowed:" \
      "numbers with x between them, as 4x4 or 2x2x1, and a number." >&2
    exit 2
    ;;
esac
all=$((${TOPOLOGY//x/*}))
if [ $((all % chips)) -ne 0 ]; then
  echo "$(program): $TOPOLOGY has $all chips, which are not whole hosts of" \
    "$chips; set CHIPS." >&2
  exit 2
fi

# A list of YAML: strings of JSON, which are strings of YAML.
list() {
  local word text=""
  for word in "$@"; do
    case "$word" in
      *[[:cntrl:]]*)
        echo "$(program): a flag has a line break or the like in it." >&2
        return 2
        ;;
    esac
    word="${word//\\/\\\\}"
    word="${word//\"/\\\"}"
    # Kubernetes would take $(NAME) for a variable.
    text="$text, \"${word//\$(/\$\$(}\""
  done
  echo "[${text#, }]"
}

[ $((all / chips)) -eq 1 ] || set -- --distributed "$@"
arguments="$(list "$@")"
commit="$(git rev-parse --short HEAD)"
tagged="${IMAGE:?}:$commit"
manifest() {
  local text name_of value
  # Newer shells would take & for what is replaced.
  shopt -u patsub_replacement 2>/dev/null || true
  text="$(grep -v '^ *#' launch/gke/jobset.yaml)"
  while read -r name_of value; do
    text="${text//\$\{$name_of\}/$value}"
  done <<< "NAME $name
RESTARTS ${RESTARTS:-50}
HOSTS $((all / chips))
SERVICE_ACCOUNT ${SERVICE_ACCOUNT:-default}
ACCELERATOR $ACCELERATOR
TOPOLOGY $TOPOLOGY
IMAGE $tagged
CHIPS $chips
ARGS $arguments"
  echo "$text"
}

# Looks until the set has come to its end: Completed, Failed, or gone.
end() {
  local found
  while :; do
    if found="$(kubectl get jobset "$name" --ignore-not-found -o \
      'jsonpath={.kind} {.status.conditions[?(@.status=="True")].type}')"; then
      case "$found" in
        *Completed*) echo Completed && return ;;
        *Failed*) echo Failed && return ;;
        *JobSet*) ;;
        *) echo "gone: somebody has deleted it" && return ;;
      esac
    fi
    sleep "${POLL_SECONDS:-30}"
  done
}

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
there=""
[ -n "$dry" ] ||
  there="$(kubectl get jobset "$name" --ignore-not-found -o name)"
if [ -z "$there" ]; then
  mkdir "$folder/checkout"
  call git archive --format=tar -o "$folder/checkout.tar" HEAD
  call tar -xf "$folder/checkout.tar" -C "$folder/checkout"
  call docker build --build-arg EXTRA=tpu,gcs -t "$tagged" \
    -f "$folder/checkout/launch/gke/Dockerfile" "$folder/checkout"
  call docker push "$tagged"
  manifest > "$folder/jobset.yaml"
  call kubectl create -f "$folder/jobset.yaml"
  if [ -n "$dry" ]; then
    cat "$folder/jobset.yaml"
    delete
    exit
  fi
else
  echo "$(program): jobset $name is there, and waited for; --delete ends it." >&2
fi
echo "$(program): kubectl logs --follow" \
  "--selector=jobset.sigs.k8s.io/jobset-name=$name shows what it says." >&2
how="$(end)"
kubectl logs "--selector=jobset.sigs.k8s.io/jobset-name=$name,batch.kubernetes.io/job-completion-index=0" \
  --tail=20 || true
echo "$(program): jobset $name: $how" >&2
delete
[ "$how" = Completed ]

#!/usr/bin/env bash
# Everything that needs a GPU, in one call of at most LSR_BUDGET seconds (540): stages by value, each with a limit of its
# own, whatever became of those before it. At most 8 files in $OUT; summary.txt grows as it goes, and is printed last.
#   OUT=folder benchmarks/gpu_check.sh
# It takes the libraries in lsr_ext/ as they are, and builds them where they do not load. PYTHON needs torch, NumPy, rich,
# pytest and hypothesis. LSR_DRY=1 rehearses on a CPU, at sizes that take seconds.
set -uo pipefail
cd "$(dirname "$0")/.."
BUDGET=${LSR_BUDGET:-540} DRY=${LSR_DRY:-0} START=$SECONDS
PYTHON=${PYTHON:-python3}
OUT=$(realpath -m "${OUT:-build/gpu}")
WORK=$(mktemp -d)
mkdir -p "$OUT"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4} # the host's tensors are small: more threads only spin
export TORCHINDUCTOR_CACHE_DIR=$WORK/inductor TRITON_CACHE_DIR=$WORK/triton HYPOTHESIS_STORAGE_DIRECTORY=$WORK/hypothesis
SUMMARY=$OUT/summary.txt LOG=$OUT/check.log FAILED=0
: >"$SUMMARY"
: >"$LOG"

say() { echo "$*" | tee -a "$SUMMARY"; }
left() { echo $((BUDGET - (SECONDS - START))); }

# Runs a command within a limit; the last line that it prints goes to the summary, and so do those that match `show`.
stage() { # name, most seconds, show, command...
  local name=$1 most=$2 show=$3 begin=$SECONDS rc
  shift 3
  [ "$DRY" = 1 ] && most=$((4 * most)) # a small machine, which does other things too
  [ "$most" -gt $(($(left) - 5)) ] && most=$(($(left) - 5))
  if [ "$most" -lt 10 ]; then
    say "$(printf '%-10s left out: no time' "$name")"
    return 0
  fi
  echo "=== $name, at most $most s: $*" >>"$LOG"
  timeout -k 3 "$most" "$@" >"$WORK/$name.log" 2>&1
  rc=$?
  tail -c 1000000 "$WORK/$name.log" >>"$LOG"
  say "$(printf '%-10s rc %-3s %3d s  %s' "$name" $rc $((SECONDS - begin)) "$(grep '[[:alnum:]]' "$WORK/$name.log" | tail -1 | cut -c1-200)")"
  [ -n "$show" ] && grep -E "$show" "$WORK/$name.log" | head -24 | cut -c1-500 | tee -a "$SUMMARY"
  [ $rc = 0 ] || FAILED=1
  return $rc
}

finish() {
  echo "================ summary, $((SECONDS - START)) s"
  cat "$SUMMARY"
  rm -rf "$WORK"
}
trap finish EXIT

if ! "$PYTHON" -c 'import torch' 2>/dev/null; then
  say "$PYTHON has no torch: set PYTHON to one that has"
  exit 1
fi
if [ "$DRY" != 1 ] && ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  say "no CUDA device: nothing to test or measure here"
  exit 0
fi
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,temperature.gpu,power.limit \
  --format=csv,noheader 2>/dev/null | tee -a "$SUMMARY"

# On a GPU, or at a size for rehearsals.
if [ "$DRY" = 1 ]; then
  DEVICE=cpu PARITY="--size 16 --large 64" KERNELS="--shape 2 6 8 8" HOST=2 STEP="--images 1 --size 16 --repeats 2"
  LOSS="--sizes brca --dtypes float32 --layouts nchw --allocator reuse --threads 1 --repeats 2" COMPILED=(eager) TUNED=brca
else
  DEVICE=cuda PARITY="" KERNELS="" HOST=20 STEP="--repeats 20"
  LOSS="--sizes ihc brca --dtypes float32 bfloat16 --repeats 15 --seconds 3"
  COMPILED=(compile) TUNED=ihc
fi

# 1. The libraries.
LOADS='import json, sys, lsr_ext
print(json.dumps(lsr_ext.build_info()))
sys.exit(not lsr_ext.ops.has_kernel(sys.argv[1]))'
if ! stage load 60 "" "$PYTHON" -c "$LOADS" "$DEVICE"; then
  rm -f lsr_ext/_C.so lsr_ext/_C_cuda.so
  stage build 260 "" env LSR_CUDA=$((1 - DRY)) TORCH_CUDA_ARCH_LIST="${TORCH_CUDA_ARCH_LIST:-9.0}" \
    "$PYTHON" setup.py -q build_ext --inplace --build-temp "$WORK/build"
  stage load 60 "" "$PYTHON" -c "$LOADS" "$DEVICE" || exit 1
fi
# 2. Whether they compute the right thing, and what each kernel takes.
stage parity 60 "^WRONG" "$PYTHON" benchmarks/parity.py --device $DEVICE $PARITY
stage kernels 90 "^(size|ihc|brca|large|huge|given| )" "$PYTHON" benchmarks/kernels.py --device $DEVICE $KERNELS --json "$OUT/kernels.json"
# 3. Everything but the random cases: launches, graphs, streams, memory, repeats to the bit, the compiler.
RANDOM_CASES="fused_equals_reference or block_moments_equal"
stage tests 110 "^(FAILED|ERROR)" "$PYTHON" -m pytest -q -p no:cacheprovider tests/test_cuda.py -k "not ($RANDOM_CASES)"
# 4. The loss as it is called, and what a call costs the host.
stage loss 80 "│" "$PYTHON" benchmarks/loss.py --device $DEVICE $LOSS --stages both \
  --methods eager fused "fused graph" "fused in place" --json "$OUT/loss.json"
stage host 15 "us$" "$PYTHON" benchmarks/host.py --device $DEVICE --series $HOST --json "$OUT/host.json"
stage step 60 "^(fused|eager):" "$PYTHON" benchmarks/step.py --device $DEVICE $STEP --json "$OUT/step.json"
# 5. Faults that only a sanitizer sees. Each tensor an allocation of its own: inside a cached one an overrun would
# pass for a neighbour's memory.
SANITIZER=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1)
for tool in memcheck racecheck; do
  [ -z "$SANITIZER" ] && [ "$DRY" != 1 ] && continue
  stage $tool 60 "^=====.*(Invalid|Race|ERROR SUMMARY)" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 \
    ${SANITIZER:+"$SANITIZER" --tool $tool --error-exitcode 9} "$PYTHON" benchmarks/sanitized.py --device $DEVICE
done
# 6. The random cases; the compiled reference, whose compilation takes a while; why the kernels are not faster; the
# compiled reference tuned, which takes longest.
stage random 80 "^(E  |FAILED)" "$PYTHON" -m pytest -q -x -p no:cacheprovider tests/test_cuda.py -k "$RANDOM_CASES"
stage compiled 80 "│" "$PYTHON" benchmarks/loss.py --device $DEVICE $LOSS --stages both \
  --methods fused "${COMPILED[@]}" --json "$OUT/compiled.json"
NCU=$(command -v ncu || ls /usr/local/cuda*/bin/ncu /opt/nvidia/nsight-compute/*/ncu 2>/dev/null | head -1)
if [ -n "$NCU" ] && [ "$DRY" != 1 ]; then
  stage ncu 60 "^ *(planar|interleaved|table)|Duration|DRAM Throughput|Achieved Occupancy|No Eligible" "$NCU" \
    --clock-control none --section SpeedOfLight --section Occupancy --section SchedulerStats --section MemoryWorkloadAnalysis \
    -k "regex:moments|gradient|table_loss" --launch-count 24 "$PYTHON" benchmarks/kernels.py --sizes ihc --once
fi
stage autotuned 90 "│" "$PYTHON" benchmarks/loss.py --device $DEVICE $LOSS --stages both \
  --sizes $TUNED --layouts nchw --dtypes float32 --methods fused "compile max" --json "$OUT/autotuned.json"
exit $FAILED

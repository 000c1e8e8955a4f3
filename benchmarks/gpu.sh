#!/usr/bin/env bash
# Everything that needs a GPU, in one call, on a machine with nothing but its own Python, torch and nvcc, and no network:
# builds, tests, compute-sanitizer, benchmarks. Figures and logs go to the folder given, by default build/gpu.
#   benchmarks/gpu.sh [folder]
# PYTHON chooses the interpreter. LSR_GPU_SKIP_BUILD=1 uses the libraries in lsr_ext/ as they are.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
OUT=$(realpath -m "${1:-build/gpu}")
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1

if ! "$PYTHON" -c 'import torch' 2>/dev/null; then
  echo "$PYTHON has no torch: set PYTHON to one that has" >&2
  exit 1
fi
if ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "no CUDA device: nothing to test or measure here"
  exit 0
fi
mkdir -p "$OUT"
"$PYTHON" -c 'import torch; p = torch.cuda.get_device_properties(0); print(p.name, f"{p.major}.{p.minor}", torch.__version__)'

if [ "${LSR_GPU_SKIP_BUILD:-0}" != 1 ]; then
  echo "== build"
  arch=$("$PYTHON" -c 'import torch; print("{}.{}".format(*torch.cuda.get_device_capability()))')
  LSR_CUDA=1 TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-$arch} \
    "$PYTHON" setup.py -q build_ext --inplace --build-temp build/gpu-temp >"$OUT/build.log" 2>&1 ||
    { tail -40 "$OUT/build.log"; exit 1; }
  "$PYTHON" tools/check_ptxas.py build/gpu-temp/cuda/ptxas.log >"$OUT/registers.txt"
fi
"$PYTHON" -c 'import json, lsr_ext; print(json.dumps(lsr_ext.build_info(), indent=1))' | tee "$OUT/build.json"

# The stages below continue after a failure, because GPU time is expensive. The exit code reports any failure.
failed=0
stage() { # name, command...
  echo "== $1"
  local log="$OUT/$1.log"
  shift
  if "$@" >"$log" 2>&1; then tail -5 "$log"; else
    failed=1
    echo "FAILED:"
    tail -40 "$log"
  fi
}

stage tests "$PYTHON" -m pytest -q tests/test_cuda.py
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    # One allocation for each tensor: in a cached block, an overrun would only touch a neighbour's memory.
    stage "$tool" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      "$PYTHON" benchmarks/sanitized.py
  done
else
  echo "no compute-sanitizer on PATH: memcheck and racecheck are left out"
fi
stage loss "$PYTHON" benchmarks/loss.py --device cuda --dtypes float32 bfloat16 --seconds 2 --json "$OUT/loss.json"
stage step "$PYTHON" benchmarks/step.py --json "$OUT/step.json"
exit $failed

#!/usr/bin/env bash
# One NVIDIA GPU, torch 2.10 or newer, no network: does Limbeck compute right there, and what does it cost?
#   benchmarks/gpu.sh [--json FILE]
# Needs what Limbeck itself needs and nothing else; says so and leaves with 0 where there is no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if [ -z "${PYTHON:-}" ] && [ -x .venv/bin/python ]; then python=.venv/bin/python; fi
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec timeout 600 "$python" benchmarks/gpu.py "$@"

#!/usr/bin/env bash
# Looks whether everything is there that a first boot needs, and no secret.
set -euo pipefail
ecsnode version
ecsnode config check
ecsnode image check

#!/usr/bin/env bash
# The last: removes what is this instance's alone, and looks whether it is gone.
# From here on nobody can log in any more.
set -euo pipefail

# Saved at shutdown, which is still to come. Masked in /run: the image is without it.
systemctl mask --runtime systemd-random-seed.service
rm -rf /tmp/ecsnode-image
ecsnode image seal
ecsnode image check --sealed
sync

#!/usr/bin/env bash
# The whole month of test/crash/month.c, of which `make crash` plays a week.
set -euo pipefail
cd "$(dirname "$0")/../.."

make --no-print-directory -f test/Makefile build/test/crash/month
build/test/crash/month 30 rows

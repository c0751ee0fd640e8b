#!/bin/sh
# Plays both python3 (version check, venv) and .venv/bin/python (pip); writes down its arguments.
# test_setup.py fills in {log}, {old} and {fail}.
echo "$@" >> "{log}"
case "$*" in
  *version_info*) exit {old} ;;
  *"venv --clear"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *"pip "*"install"*) test ! -e "{fail}" ;;
esac

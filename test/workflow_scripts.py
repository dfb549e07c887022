#!/usr/bin/python3
"""What a review of a workflow looks for and actionlint does not: prints each finding, and exits 1 when there is one.

- No expression in a script: ${{ }} is replaced before the shell reads the script, whatever is in it. Values come through the
  environment.
- No right for all jobs: each job names its own, and the workflow none.
- No right to write, and no identity to sign with, in a job that runs somebody else's tests or code of a pull request.
- Every job ends by itself; what is checked out leaves no credential behind.
"""

import sys

import yaml

TRUSTED_TO_WRITE = {"image", "chart", "page"}  # of release.yml


def findings(path, workflow):
    if workflow.get("permissions") != {}:
        yield "permissions of the workflow are not {}"
    for name, job in workflow["jobs"].items():
        calls = "uses" in job  # another workflow, whose jobs have their own limits
        if not calls and "timeout-minutes" not in job:
            yield f"{name}: no timeout-minutes"
        rights = job.get("permissions", {})
        if isinstance(rights, str) or (set(rights.values()) - {"read"} and not (path.endswith("release.yml") and name in TRUSTED_TO_WRITE)):
            yield f"{name}: permissions {rights}"
        for step in job.get("steps", []):
            what = f"{name}: {step.get('name', step.get('uses'))}"
            if "${{" in step.get("run", ""):
                yield f"{what}: an expression in a script"
            if step.get("uses", "").startswith("actions/checkout@") and step.get("with", {}).get("persist-credentials") is not False:
                yield f"{what}: persist-credentials"
            if rights and set(rights.values()) != {"read"} and "test/e2e/run" in step.get("run", ""):
                yield f"{what}: tests beside the right to write"


def main():
    found = []
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            found += [f"{path}: {finding}" for finding in findings(path, yaml.safe_load(file))]
    print("\n".join(found), end="\n" if found else "")
    sys.exit(bool(found))


main()

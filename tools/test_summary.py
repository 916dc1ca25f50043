"""Counts the test cases of one `bazel test`, from its build events.

usage: test_summary.py EVENTS_FILE BAZEL_EXIT_STATUS

Prints what failed, and as the last line `N passed, M failed`. Exits with 1
when something failed, or when nothing ran.
"""

import json
import sys
import urllib.parse
import urllib.request
import xml.etree.ElementTree


def path_of(uri):
    return urllib.request.url2pathname(urllib.parse.urlparse(uri).path)


def cases_of(xml_path):
    """Yields (name, verdict) of every test case in a test.xml."""
    tree = xml.etree.ElementTree.parse(xml_path)
    for case in tree.iter("testcase"):
        name = ".".join(
            part for part in (case.get("classname"), case.get("name")) if part
        )
        if case.find("failure") is not None or case.find("error") is not None:
            yield name, "failed"
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            yield name, "skipped"
        else:
            yield name, "passed"


def read_events(path):
    """Returns the test targets, their results and their build failures."""
    targets, results, broken = set(), {}, {}
    with open(path, encoding="utf-8") as events:
        for line in events:
            event = json.loads(line)
            key = event.get("id", {})
            if "targetConfigured" in key:
                label = key["targetConfigured"]["label"]
                if "testSize" in event.get("configured", {}):
                    targets.add(label)
                elif "aborted" in event:
                    broken[label] = event["aborted"].get("description", "")
            elif "targetCompleted" in key:
                label = key["targetCompleted"]["label"]
                completed = event.get("completed")
                if completed is None or not completed.get("success"):
                    broken[label] = "did not build"
            elif "pattern" in key or "unconfiguredLabel" in key:
                if "aborted" in event:
                    label = str(key.get("unconfiguredLabel", {}).get("label"))
                    broken[label] = event["aborted"].get("description", "")
            elif "testResult" in key:
                # A later attempt of the same shard and run replaces the first.
                result = key["testResult"]
                place = (result.get("shard", 1), result.get("run", 1))
                xml_paths = [
                    path_of(output["uri"])
                    for output in event["testResult"].get("testActionOutput", [])
                    if output["name"] == "test.xml"
                ]
                status = event["testResult"].get("status", "NO_STATUS")
                results.setdefault(result["label"], {})[place] = (
                    status,
                    xml_paths,
                )
    return targets, results, broken


def main():
    events_path, bazel_status = sys.argv[1], int(sys.argv[2])
    targets, results, broken = read_events(events_path)
    passed = skipped = 0
    failures = []
    for label, runs in sorted(results.items()):
        for place, (status, xml_paths) in sorted(runs.items()):
            failed_before = len(failures)
            try:
                cases = [case for path in xml_paths for case in cases_of(path)]
            except (OSError, xml.etree.ElementTree.ParseError) as error:
                cases = []
                if status == "PASSED":
                    failures.append(f"{label}: no readable test.xml: {error}")
            for name, verdict in cases:
                if verdict == "failed":
                    failures.append(f"{label}: {name}")
                passed += verdict == "passed"
                skipped += verdict == "skipped"
            if status not in ("PASSED", "FLAKY"):
                # It crashed, hung or leaked without a case that says so.
                if len(failures) == failed_before:
                    failures.append(f"{label}: {status}")
    for label, reason in sorted(broken.items()):
        failures.append(f"{label}: {reason}")
    for label in sorted(targets - set(results) - set(broken)):
        failures.append(f"{label}: did not run")
    if bazel_status != 0 and not failures:
        failures.append(f"bazel test ended with status {bazel_status}")

    print()
    if failures:
        print("Failed:")
        for failure in failures:
            print("  " + failure)
    if skipped:
        print(f"{skipped} skipped")
    if not passed and not failures:
        print("no test ran")
    print(f"{passed} passed, {len(failures)} failed")
    sys.exit(1 if failures or not passed else 0)


if __name__ == "__main__":
    main()

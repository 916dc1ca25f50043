"""The JSON Schemas take what mesh-check takes, and refuse what it refuses."""

import json
import os
import subprocess
import sys
import unittest

import json_schema

MESH_CHECK = os.path.abspath(sys.argv.pop(1))
DIRECTORY = "docs/reference/"


def service(**fields):
    """A configuration with one service, which has `fields`."""
    return {"services": {"cart": {"endpoints": ["10.0.0.1:80"], **fields}}}


def policy(**fields):
    return service(policy=fields)


GOOD = [
    {},
    {"services": None},
    {"services": {"x" * 253: {"endpoints": []}}},
    {"services": {"cart": {"endpoints": None, "dns": {"name": "a", "port": 1}}}},
    service(tls=None, policy=None, methods=None, authority=None, guards={"rate_limit": None}),
    service(methods={"a.B/C": None, "a.B/*": {}}),
    service(endpoints=[{"address": "[::1]:80", "weight": None, "locality": None}]),
    policy(timeout=None, idempotent=None, retry={"codes": None, "max_attempts": None}),
    policy(hedging={"mode": None, "delay": None}, fault={"abort_code": None, "by_header": True}),
    policy(hedging={"mode": "Enforce", "delay": "Adaptive"}),
    policy(retry={"codes": ["UNAVAILABLE", "ABORTED"]}),
    policy(fault={"abort_code": "CANCELLED", "abort_percent": 1}),
    service(silence={"mode": "oFF"}, guards={"caps": {"mode": False}, "breaker": {"mode": "OFF"}}),
    service(load_balancing={"policy": "Round_Robin"}),
    service(silence={"probe_method": "/a.B/C"}),
    service(outlier_ejection={"latency": {"factor": 0}}),
    service(channel_args={"a": -2147483648, "b": 2147483647, "c": "x", "d": True}),
    service(channel_args={"a": {"integer": 1, "text": None}, "b": {"boolean": False}}),
    service(connections={"keepalive_timeout": None}),
    service(connections={"keepalive_time": "60s", "keepalive_timeout": "5s"}),
    service(grpc_service_config={"json": "{}", "path": None}),
    service(tls={"ca_file": None, "cert_file": None}),
]

# What a schema can tell; of the rest the program alone knows.
BAD = [
    {"services": {"": {"endpoints": []}}},
    {"services": {"a b": {"endpoints": []}}},
    {"services": {"x" * 254: {"endpoints": []}}},
    {"services": {"cart": None}},
    {"services": {"cart": {}}},
    {"services": {"cart": {"endpoints": None}}},
    {"services": {"cart": {"endpoints": [], "dns": {"name": "a", "port": 1}}}},
    {"services": {"cart": {"endpoints_file": None}}},
    {"services": {"cart": {"endpoints_file": {"path": ""}}}},
    service(endpoints=[""]),
    service(endpoints=[None]),
    service(endpoints=[{"address": ""}]),
    service(endpoints=[{"weight": 1}]),
    service(dns=None),
    service(grpc_service_config=None),
    service(grpc_service_config={}),
    service(grpc_service_config={"path": "a", "json": "{}"}),
    service(channel_args={"a": 3000000000}),
    service(channel_args={"a": {"integer": -2147483649}}),
    service(channel_args={"a": 1.5}),
    service(channel_args={"a": None}),
    service(channel_args={"a": {}}),
    service(channel_args={"a": {"integer": 1, "text": "b"}}),
    service(channel_args={"": 1}),
    service(methods={"B": {}}),
    service(methods={"/a.B/C": {}}),
    service(methods={"a.*/C": {}}),
    policy(retry={"codes": []}),
    policy(retry={"codes": ["NOPE"]}),
    policy(retry={"codes": ["CANCELLED"]}),
    policy(retry={"codes": ["ABORTED", "ABORTED"]}),
    policy(fault={"abort_code": "", "abort_percent": 1}),
    policy(fault={"abort_code": "OK", "abort_percent": 1}),
    policy(timeout="1.s"),
    policy(timeout=1),
    policy(hedging={"mode": "on"}),
    policy(hedging={"mode": True}),
    service(outlier_ejection={"latency": {"factor": 1}}),
    service(outlier_ejection={"panic_threshold_percent": 100, "max_ejection_percent": 1}),
    service(connections={"keepalive_timeout": "5s"}),
    service(connections={"keepalive_timeout": "5s", "keepalive_time": None}),
    service(retry_budget={"ratio": True}),
    service(silence={"probe_method": ""}),
    service(silence={"probe_method": "/a.B/*"}),
    service(polcy={}),
]


class SchemaTest(unittest.TestCase):
    def setUp(self):
        with open(DIRECTORY + "mesh.schema.json", encoding="utf-8") as file:
            self.schema = json_schema.Schema(json.load(file))
        self.file = os.path.join(os.environ.get("TEST_TMPDIR", "/tmp"), "mesh.json")

    def is_good(self, config):
        with open(self.file, "w", encoding="utf-8") as file:
            json.dump(config, file)
        done = subprocess.run([MESH_CHECK, self.file], capture_output=True, check=False)
        self.assertIn(done.returncode, (0, 1))
        return done.returncode == 0

    def test_takes_what_is_good(self):
        for config in GOOD:
            with self.subTest(config=config):
                self.assertTrue(self.is_good(config))
                self.assertTrue(self.schema.takes(config))

    def test_refuses_what_is_bad(self):
        for config in BAD:
            with self.subTest(config=config):
                self.assertFalse(self.is_good(config))
                self.assertFalse(self.schema.takes(config))

    def test_knows_endpoints_files(self):
        with open(DIRECTORY + "endpoints.schema.json", encoding="utf-8") as file:
            schema = json_schema.Schema(json.load(file))
        self.assertTrue(schema.takes({"endpoints": []}))
        self.assertTrue(schema.takes({"endpoints": ["10.0.0.1:80", {"address": "10.0.0.2:80"}]}))
        for bad in ({}, {"endpoints": None}, {"endpoints": [""]}, {"endpoints": [], "x": 1}):
            self.assertFalse(schema.takes(bad), bad)


if __name__ == "__main__":
    unittest.main()

"""Where mesh's dependencies come from: the system's packages (Debian 12).

Each external library is a local repository that only says how to link it; its
headers are on the compiler's default path. To build with another source of
dependencies (a newer Bazel with a registry, a vendored tree), define the same
repository names in WORKSPACE instead of calling system_deps().
"""

# One repository per library: name -> targets -> linker flags. The linker does
# not follow indirect dependencies, so whatever our own objects use is listed.
_LIBRARIES = {
    "com_google_absl": {
        "base": ["-labsl_base", "-labsl_raw_logging_internal", "-labsl_spinlock_wait", "-labsl_throw_delegate"],
        "hash": ["-labsl_hash", "-labsl_city", "-labsl_low_level_hash", "-labsl_raw_hash_set", "-labsl_hashtablez_sampler"],
        "random": [
            "-labsl_random_distributions",
            "-labsl_random_seed_sequences",
            "-labsl_random_internal_pool_urbg",
            "-labsl_random_internal_randen",
            "-labsl_random_internal_randen_hwaes",
            "-labsl_random_internal_randen_hwaes_impl",
            "-labsl_random_internal_randen_slow",
            "-labsl_random_internal_platform",
            "-labsl_random_internal_seed_material",
            "-labsl_random_seed_gen_exception",
        ],
        "status": ["-labsl_statusor", "-labsl_status", "-labsl_cord", "-labsl_cord_internal"],
        "strings": ["-labsl_strings", "-labsl_strings_internal", "-labsl_str_format_internal", "-labsl_int128"],
        "synchronization": ["-labsl_synchronization", "-labsl_graphcycles_internal", "-labsl_stacktrace", "-labsl_symbolize", "-labsl_malloc_internal"],
        "time": ["-labsl_time", "-labsl_time_zone", "-labsl_civil_time"],
    },
    "com_github_grpc_grpc": {
        # Its headers use absl::Mutex, so whoever includes them links it.
        "grpc++": ["-lgrpc++", "-lgrpc", "-lgpr", "-labsl_synchronization"],
        "grpc++_reflection": ["-lgrpc++_reflection"],
    },
    "com_github_cares_cares": {"ares": ["-lcares"]},
    "com_github_google_benchmark": {"benchmark": ["-lbenchmark"]},
    "com_github_google_flatbuffers": {"flatbuffers": ["-lflatbuffers"]},
    "com_github_jbeder_yaml_cpp": {"yaml-cpp": ["-lyaml-cpp"]},
    "com_google_protobuf": {"protobuf": ["-lprotobuf"]},
    "com_google_googletest": {
        "gtest": ["-lgtest", "-lgmock"],
        "gtest_main": ["-lgtest_main", "-lgtest", "-lgmock"],
    },
    "openssl": {"ssl": ["-lssl", "-lcrypto"]},
}

def _system_library_impl(ctx):
    ctx.file("WORKSPACE", "")
    lines = ['package(default_visibility = ["//visibility:public"])']
    for name, flags in ctx.attr.targets.items():
        lines.append("cc_library(name = %r, linkopts = %r)" % (name, flags))
    ctx.file("BUILD.bazel", "\n".join(lines) + "\n")

_system_library = repository_rule(
    implementation = _system_library_impl,
    attrs = {"targets": attr.string_list_dict()},
    local = True,
)

def system_deps():
    """Declares every external repository that the build refers to."""
    for name, targets in _LIBRARIES.items():
        _system_library(name = name, targets = targets)

    # Bazel's own tools refer to these. Debian's rules_cc does not load in
    # Debian's Bazel, so a minimal one stands in the tree.
    native.local_repository(name = "rules_cc", path = "bazel/rules_cc")
    native.local_repository(name = "remote_coverage_tools", path = "bazel/remote_coverage_tools")
    native.local_repository(name = "rules_java", path = "/usr/share/bazel/rules/java")
    native.local_repository(name = "rules_proto", path = "/usr/share/bazel/rules/proto")
    native.local_repository(name = "bazel_skylib", path = "/usr/share/bazel/tools/skylib")

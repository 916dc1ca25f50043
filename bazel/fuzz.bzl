"""Fuzz targets: with coverage by `./run fuzz`, for 5 s each by `./run test`."""

def mesh_fuzz_test(name, srcs, deps):
    """A fuzz target and its test.

    Args:
      name: NAME_fuzzer is the libFuzzer binary (builds with --config=fuzz
        only), NAME_fuzz_test runs each file in NAME_corpus/ once, and then for
        5 s what mesh/testing/mutator.h makes of them.
      srcs: what defines LLVMFuzzerTestOneInput.
      deps: of srcs.
    """
    native.cc_binary(
        name = name + "_fuzzer",
        srcs = srcs,
        tags = ["manual"],
        deps = deps,
    )
    corpus = native.glob([name + "_corpus/**"])
    native.cc_test(
        name = name + "_fuzz_test",
        size = "small",
        srcs = srcs,
        args = ["$(location %s)" % file for file in corpus],
        data = corpus,
        deps = deps + ["//mesh/testing:fuzz_main"],
    )

"""Fuzz targets: run for real by `./run fuzz`, over their corpus by every test."""

def mesh_fuzz_test(name, srcs, deps):
    """A fuzz target and the test of its corpus.

    Args:
      name: NAME_fuzzer is the libFuzzer binary (builds with --config=fuzz
        only), NAME_corpus_test runs each file in NAME_corpus/ once.
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
        name = name + "_corpus_test",
        size = "small",
        srcs = srcs,
        args = ["$(location %s)" % file for file in corpus],
        data = corpus,
        deps = deps + ["//mesh/testing:corpus_main"],
    )

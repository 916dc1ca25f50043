"""C++ from .proto files, with the system's protoc and gRPC plugin."""

def mesh_proto_library(name, srcs, grpc = False, deps = [], **kwargs):
    """A cc_library of the code that protoc makes of `srcs`.

    Args:
      name: of the cc_library.
      srcs: .proto files of this package, imported by their path in the tree.
      grpc: whether to make the gRPC service stubs too.
      deps: other mesh_proto_library targets whose files are imported.
      **kwargs: passed to cc_library.
    """
    headers = []
    sources = []
    for src in srcs:
        stem = src[:-len(".proto")]
        suffixes = [".pb"] + ([".grpc.pb"] if grpc else [])
        headers += [stem + suffix + ".h" for suffix in suffixes]
        sources += [stem + suffix + ".cc" for suffix in suffixes]
    native.filegroup(
        name = name + "_srcs",
        srcs = srcs,
        visibility = ["//visibility:public"],
    )
    native.genrule(
        name = name + "_gen",
        srcs = srcs + [dep + "_srcs" for dep in deps],
        outs = headers + sources,
        cmd = " ".join([
            "protoc -I.",
            "--cpp_out=$(GENDIR)",
            "--grpc_out=$(GENDIR) --plugin=protoc-gen-grpc=$$(command -v grpc_cpp_plugin)" if grpc else "",
        ] + ["$(location %s)" % src for src in srcs]),
        message = "Generating C++ of " + ", ".join(srcs),
    )
    native.cc_library(
        name = name,
        srcs = sources,
        hdrs = headers,
        copts = ["-Wno-unused-parameter"],
        deps = deps + ["@com_google_protobuf//:protobuf"] +
               (["@com_github_grpc_grpc//:grpc++"] if grpc else []),
        **kwargs
    )

"""What `./run install` puts under a prefix, as a tar file."""

def _ours(linker_input):
    return linker_input.owner.workspace_name == ""

def _mesh_package_impl(ctx):
    info = ctx.attr.library[CcInfo]

    # One archive of all objects of this tree.
    objects = []
    for linker_input in info.linking_context.linker_inputs.to_list():
        if not _ours(linker_input):
            continue
        for library in linker_input.libraries:
            objects += library.pic_objects or library.objects or []
    archive = ctx.actions.declare_file("libmesh.a")
    args = ctx.actions.args()
    args.add("qcsD")
    args.add(archive)
    args.add_all(objects)
    ctx.actions.run(
        outputs = [archive],
        inputs = objects,
        executable = "/usr/bin/ar",
        arguments = [args],
        mnemonic = "MeshArchive",
    )

    # All of it as one shared object, which shows only what is public.
    shared = ctx.actions.declare_file("libmesh.so")
    flags = [
        flag
        for linker_input in info.linking_context.linker_inputs.to_list()
        for flag in linker_input.user_link_flags
    ]
    args = ctx.actions.args()
    args.add_all(["-shared", "-o", shared])
    args.add_all(["-Wl,--whole-archive", archive, "-Wl,--no-whole-archive"])
    args.add_all([
        "-Wl,-soname,libmesh.so.0",
        "-Wl,--version-script=" + ctx.file.version_script.path,
        "-Wl,-z,defs,-z,relro,-z,now",
        "-Wl,--gc-sections",
        "-Wl,--as-needed",
    ])
    args.add_all(flags, uniquify = True)
    ctx.actions.run(
        outputs = [shared],
        inputs = [archive, ctx.file.version_script],
        executable = "/usr/bin/g++",
        arguments = [args],
        mnemonic = "MeshLink",
        use_default_shell_env = True,
    )

    # All headers of this tree that the library's users could include; the
    # script takes those that the public ones reach. path in the tree -> file
    headers = [
        header
        for header in info.compilation_context.headers.to_list()
        if header.short_path.startswith("mesh/") and header.extension == "h"
    ]
    listing = ctx.actions.declare_file("headers.txt")
    ctx.actions.write(
        listing,
        "".join(["%s %s\n" % (h.short_path, h.path) for h in headers]),
    )

    out = ctx.actions.declare_file(ctx.label.name)
    args = ctx.actions.args()
    args.add(out)
    args.add(archive)
    args.add(shared)
    args.add(listing)
    args.add_joined(ctx.attr.public_headers, join_with = " ")
    args.add_joined(ctx.files.protos, join_with = " ")
    args.add_joined(ctx.files.programs, join_with = " ")
    args.add_all(ctx.files.templates)
    ctx.actions.run(
        outputs = [out],
        inputs = headers + ctx.files.protos + ctx.files.programs +
                 ctx.files.templates + [archive, shared, listing],
        executable = ctx.executable._make,
        arguments = [args],
        mnemonic = "MeshPackage",
        use_default_shell_env = True,
    )
    return [DefaultInfo(
        files = depset([out]),
        runfiles = ctx.runfiles(files = [out]),
    )]

mesh_package = rule(
    implementation = _mesh_package_impl,
    attrs = {
        "library": attr.label(providers = [CcInfo], mandatory = True),
        "version_script": attr.label(allow_single_file = True, mandatory = True),
        "public_headers": attr.string_list(mandatory = True),
        "programs": attr.label_list(),
        "protos": attr.label_list(allow_files = [".proto"]),
        "templates": attr.label_list(allow_files = [".in"]),
        "_make": attr.label(
            default = ":make_tar",
            executable = True,
            cfg = "host",
        ),
    },
)

"""The files that a library is made of, for tests that build it otherwise."""

_Sources = provider(fields = ["files"])

def _sources_aspect_impl(target, ctx):
    files = []
    for attribute in ["srcs", "hdrs"]:
        files += getattr(ctx.rule.files, attribute, [])
    deps = getattr(ctx.rule.attr, "deps", [])
    return [_Sources(files = depset(
        [f for f in files if f.owner.workspace_name == ""],
        transitive = [dep[_Sources].files for dep in deps if _Sources in dep],
    ))]

_sources_aspect = aspect(
    implementation = _sources_aspect_impl,
    attr_aspects = ["deps"],
)

def _library_sources_impl(ctx):
    files = depset(transitive = [
        library[_Sources].files
        for library in ctx.attr.libraries
    ]).to_list()
    listing = ctx.actions.declare_file(ctx.label.name + ".txt")
    ctx.actions.write(listing, "".join([f.short_path + "\n" for f in files]))
    files = [f for f in files if f.is_source] + [listing]
    return [DefaultInfo(
        files = depset(files),
        runfiles = ctx.runfiles(files = files),
    )]

# All source files of `libraries` and of what they depend on in this tree, and
# NAME.txt, which lists them and the generated ones.
library_sources = rule(
    implementation = _library_sources_impl,
    attrs = {
        "libraries": attr.label_list(
            aspects = [_sources_aspect],
            mandatory = True,
        ),
    },
)

#include "mesh/config/loader.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/config/builder.h"
#include "mesh/config/document.h"
#include "mesh/config/problems.h"
#include "mesh/config/reader.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

// No configuration of any size comes near; it is a wrong file.
constexpr size_t kMaxBytes = 16 << 20;

BuildContext ContextOf(const std::string& file) {
  return {file, SourceMap(), Problems(file), {}};
}

// Parses `text` and fills `message`. False when it can't be parsed at all.
bool Read(absl::string_view text, google::protobuf::Message* message,
          BuildContext* context) {
  if (text.size() > kMaxBytes) {
    context->problems.Add(
        {}, absl::StrCat("the file has more than ", kMaxBytes, " bytes"));
    return false;
  }
  const NodePtr root = ParseDocument(text, context->file, &context->problems);
  if (root == nullptr) return false;
  if (root->kind == Node::Kind::kNull) {
    context->problems.Add({}, "the file is empty");
    return false;
  }
  ReadMessage(*root, message, &context->sources, &context->problems);
  return true;
}

absl::StatusOr<options::MeshOptions> Load(absl::string_view text,
                                          BuildContext* context) {
  v1::Config config;
  if (Read(text, &config, context)) {
    options::MeshOptions options = BuildOptions(config, context);
    if (context->problems.empty()) return options;
  }
  return context->problems.ToStatus();
}

}  // namespace

absl::StatusOr<options::MeshOptions> LoadFile(
    const std::string& path, std::vector<base::FileState>* files) {
  const absl::StatusOr<std::string> text = base::ReadFile(path, kMaxBytes);
  BuildContext context = ContextOf(path);
  context.files.push_back({path, base::Fingerprint(text)});
  absl::StatusOr<options::MeshOptions> options =
      text.ok() ? Load(*text, &context) : text.status();
  if (files != nullptr) {
    // A file that several services name is listed once, as first read.
    std::set<std::string> seen;
    files->clear();
    for (base::FileState& file : context.files) {
      if (seen.insert(file.path).second) files->push_back(std::move(file));
    }
  }
  return options;
}

absl::StatusOr<options::MeshOptions> LoadText(absl::string_view text,
                                              const std::string& name) {
  BuildContext context = ContextOf(name);
  return Load(text, &context);
}

absl::StatusOr<options::MeshOptions> FromProto(const v1::Config& config) {
  // A copy, because reflection sees maps through a second form of them, which a
  // change through a reference that was taken earlier does not reach.
  v1::Config copy;
  copy.CopyFrom(config);
  BuildContext context = ContextOf("");
  options::MeshOptions options = BuildOptions(copy, &context);
  if (context.problems.empty()) return options;
  return context.problems.ToStatus();
}

absl::StatusOr<cluster::EndpointSetPtr> ParseEndpoints(
    absl::string_view text, const std::string& name) {
  BuildContext context = ContextOf(name);
  v1::EndpointList list;
  if (Read(text, &list, &context)) {
    cluster::EndpointSetPtr endpoints = BuildEndpoints(list, &context);
    if (context.problems.empty()) return endpoints;
  }
  return context.problems.ToStatus();
}

}  // namespace mesh::config

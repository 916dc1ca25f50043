#include "mesh/config/loader.h"

#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "mesh/config/builder.h"
#include "mesh/config/defaults.h"
#include "mesh/config/document.h"
#include "mesh/config/printer.h"
#include "mesh/config/problems.h"
#include "mesh/config/reader.h"
#include "mesh/config/text.h"
#include "mesh/v1/config.pb.h"

namespace mesh::config {
namespace {

// No configuration of any size comes near; it is a wrong file.
constexpr size_t kMaxBytes = 16 << 20;

BuildContext ContextOf(const std::string& file) {
  return {file, SourceMap(), Problems(file), {}, Problems(file)};
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

// The endpoints of an endpoints file. They mean nothing if `context` has
// problems afterwards.
cluster::EndpointSetPtr ReadEndpoints(absl::string_view text,
                                      BuildContext* context) {
  v1::EndpointList list;
  if (!Read(text, &list, context)) return nullptr;
  return BuildEndpoints(list, context);
}

// The file with which relative paths mean the same when the working directory
// has changed.
std::string AbsoluteFile(const std::string& file) {
  std::error_code error;
  const std::filesystem::path absolute =
      std::filesystem::absolute(file.empty() ? "configuration" : file, error);
  return error ? file : absolute.string();
}

class Written final : public options::WrittenConfig {
 public:
  Written(v1::Config config, const std::string& file)
      : config_(std::move(config)), file_(AbsoluteFile(file)) {}

  std::string Text(const options::TelemetryOptions& telemetry) const override {
    v1::Config config = WithDefaults(config_, file_);
    config.mutable_telemetry()->set_max_methods(telemetry.max_methods);
    config.mutable_telemetry()->set_max_endpoints(telemetry.max_endpoints);
    config.mutable_telemetry()->set_max_peers(telemetry.max_peers);
    return ToYaml(config);
  }

 private:
  const v1::Config config_;
  const std::string file_;
};

// Reports what is wrong with the endpoints files that `config` names. One that
// is not there is good: what writes it may come later.
void CheckEndpointsFiles(const v1::Config& config, BuildContext* context) {
  std::map<std::string, absl::Status> read;  // By path, how that went.
  for (const auto& [name, service] : config.services()) {
    if (service.endpoints_file().path().empty()) continue;
    const std::string path =
        base::ResolvePath(service.endpoints_file().path(), context->file);
    auto it = read.find(path);
    if (it == read.end()) {
      const absl::StatusOr<std::string> text = base::ReadFile(path);
      it = read.emplace(path, text.status()).first;
      if (text.ok()) {
        BuildContext inner = ContextOf(path);
        ReadEndpoints(*text, &inner);
        context->problems.Append(inner.problems);
      }
    }
    if (it->second.ok() || absl::IsNotFound(it->second)) continue;
    const std::string field =
        FieldPath(KeyPath("services", name), "endpoints_file.path");
    context->problems.Add(context->sources.Find(field),
                          absl::StrCat(field, ": ", it->second.message()));
  }
}

// The options of `config`, or all that is wrong with it.
absl::StatusOr<options::MeshOptions> Build(v1::Config config,
                                           BuildContext* context) {
  options::MeshOptions options = BuildOptions(config, context);
  if (!context->problems.empty()) return context->problems.ToStatus();
  options.warnings = context->warnings.Lines();
  options.written =
      std::make_shared<const Written>(std::move(config), context->file);
  return options;
}

absl::StatusOr<options::MeshOptions> Load(absl::string_view text,
                                          BuildContext* context) {
  v1::Config config;
  if (!Read(text, &config, context)) return context->problems.ToStatus();
  return Build(std::move(config), context);
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
  return Build(std::move(copy), &context);
}

absl::StatusOr<v1::Config> LoadFileWithDefaults(
    const std::string& path, std::vector<std::string>* warnings) {
  const absl::StatusOr<std::string> text = base::ReadFile(path, kMaxBytes);
  if (!text.ok()) return text.status();
  BuildContext context = ContextOf(path);
  v1::Config config;
  if (Read(*text, &config, &context)) {
    BuildOptions(config, &context);
    CheckEndpointsFiles(config, &context);
  }
  if (!context.problems.empty()) return context.problems.ToStatus();
  if (warnings != nullptr) *warnings = context.warnings.Lines();
  return WithDefaults(config, AbsoluteFile(path));
}

absl::StatusOr<cluster::EndpointSetPtr> ParseEndpoints(
    absl::string_view text, const std::string& name) {
  BuildContext context = ContextOf(name);
  cluster::EndpointSetPtr endpoints = ReadEndpoints(text, &context);
  if (!context.problems.empty()) return context.problems.ToStatus();
  return endpoints;
}

}  // namespace mesh::config

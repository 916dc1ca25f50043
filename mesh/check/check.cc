#include "mesh/check/check.h"

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "mesh/base/file.h"
#include "mesh/config/loader.h"
#include "mesh/config/printer.h"
#include "mesh/v1/config.pb.h"

namespace mesh::check {
namespace {

constexpr int kGood = 0;
constexpr int kWrongConfiguration = 1;
constexpr int kWrongArguments = 2;

constexpr char kUsage[] = "usage: mesh-check FILE [OTHER]\n";

constexpr char kHelp[] = R"(
Checks the mesh configuration in FILE (YAML or JSON) and prints it with every
default that acts. All problems are printed with file, line and column. The
endpoints files that it names are checked if they are there. TLS files must be
there; what is in them is not looked at.

With OTHER, both files are checked, and what differs is printed, one setting a
line: "services.cart.policy.timeout: 1s -> 2s". Nothing is printed when no
setting differs.

  --help    prints this

The exit code is 0 for good configurations, whether or not they differ, 1 when one is wrong or cannot be
read, and 2 for arguments that are wrong.
)";

int ArgumentsError(std::ostream& err, absl::string_view what) {
  err << "mesh-check: " << what << "\n" << kUsage;
  return kWrongArguments;
}

// The endpoints files that are there: what writes them may come later. Their
// paths are absolute.
absl::Status CheckEndpointsFiles(const v1::Config& config) {
  for (const auto& [name, service] : config.services()) {
    if (!service.has_endpoints_file()) continue;
    const std::string& path = service.endpoints_file().path();
    const absl::StatusOr<std::string> text = base::ReadFile(path);
    if (absl::IsNotFound(text.status())) continue;
    if (!text.ok()) return text.status();
    const auto endpoints = config::ParseEndpoints(*text, path);
    if (!endpoints.ok()) return endpoints.status();
  }
  return absl::OkStatus();
}

}  // namespace

int Check(const std::vector<std::string>& arguments, std::ostream& out,
          std::ostream& err) {
  std::vector<std::string> files;
  for (const std::string& argument : arguments) {
    if (argument == "--help") {
      out << kUsage << kHelp;
      return kGood;
    }
    if (absl::StartsWith(argument, "-")) {
      return ArgumentsError(
          err, absl::StrCat("the argument \"", argument, "\" is unknown."));
    }
    files.push_back(argument);
  }
  if (files.empty() || files.size() > 2) {
    return ArgumentsError(err, "one file or two are needed.");
  }
  std::vector<v1::Config> configs;
  for (const std::string& file : files) {
    absl::StatusOr<v1::Config> config = config::LoadFileWithDefaults(file);
    const absl::Status status =
        config.ok() ? CheckEndpointsFiles(*config) : config.status();
    if (status.ok()) {
      configs.push_back(*std::move(config));
    } else {
      err << status.message() << "\n";
    }
  }
  if (configs.size() < files.size()) return kWrongConfiguration;
  if (configs.size() == 1) {
    out << config::ToYaml(configs[0]);
    return kGood;
  }
  for (const std::string& line : config::Differences(configs[0], configs[1])) {
    out << line << "\n";
  }
  return kGood;
}

}  // namespace mesh::check

#include "mesh/check/check.h"

#include <set>

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

// Prints what is wrong with the endpoints files that are there: what writes
// them may come later. Their paths are absolute. False: something is.
bool CheckEndpointsFiles(const v1::Config& config, std::ostream& err) {
  std::set<std::string> paths;  // Several services may name one.
  for (const auto& [unused, service] : config.services()) {
    if (service.has_endpoints_file()) {
      paths.insert(service.endpoints_file().path());
    }
  }
  bool good = true;
  for (const std::string& path : paths) {
    const absl::StatusOr<std::string> text = base::ReadFile(path);
    if (absl::IsNotFound(text.status())) continue;
    const absl::Status status =
        text.ok() ? config::ParseEndpoints(*text, path).status()
                  : text.status();
    if (status.ok()) continue;
    err << status.message() << "\n";
    good = false;
  }
  return good;
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
    if (!config.ok()) {
      err << config.status().message() << "\n";
    } else if (CheckEndpointsFiles(*config, err)) {
      configs.push_back(*std::move(config));
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

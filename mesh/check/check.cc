#include "mesh/check/check.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "mesh/config/loader.h"
#include "mesh/config/printer.h"
#include "mesh/v1/config.pb.h"

namespace mesh::check {
namespace {

constexpr int kGood = 0;
constexpr int kWrongConfiguration = 1;
constexpr int kCannotWrite = 1;
constexpr int kWrongArguments = 2;

constexpr char kUsage[] = "usage: mesh-check FILE [OTHER]\n";

constexpr char kHelp[] = R"(
Checks the mesh configuration in FILE (YAML or JSON) and prints it with every
default that acts. All problems are printed with file, line and column. The
endpoints files that it names are checked if they are there. Files of
certificates and keys are not looked at: "mesh-certs check" does that.

With OTHER, both files are checked, and what differs is printed, one setting a
line: "services.cart.policy.timeout: 1s -> 2s". Nothing is printed when no
setting differs.

  --help    prints this

The exit code is 0 for good configurations, whether or not they differ. It is 1
when one is wrong or cannot be read, or when the output cannot be written. It is
2 for arguments that are wrong.
)";

int ArgumentsError(std::ostream& err, absl::string_view what) {
  err << "mesh-check: " << what << "\n" << kUsage;
  return kWrongArguments;
}

int OutputError(std::ostream& err, absl::string_view what) {
  err << "mesh-check: " << what << "\n";
  return kCannotWrite;
}

// Prints the lines of `errors` that are not in `printed`. Two configurations
// may name one file that is wrong.
void PrintErrors(absl::string_view errors, std::set<std::string>* printed,
                 std::ostream& err) {
  for (const absl::string_view line : absl::StrSplit(errors, '\n')) {
    if (printed->insert(std::string(line)).second) err << line << "\n";
  }
}

int Run(const std::vector<std::string>& arguments, std::ostream& out,
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
  std::set<std::string> printed;
  for (const std::string& file : files) {
    std::vector<std::string> warnings;
    absl::StatusOr<v1::Config> config =
        config::LoadFileWithDefaults(file, &warnings);
    for (const std::string& warning : warnings) {
      PrintErrors(absl::StrCat("warning: ", warning), &printed, err);
    }
    if (config.ok()) {
      configs.push_back(*std::move(config));
    } else {
      PrintErrors(config.status().message(), &printed, err);
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

}  // namespace

int Check(const std::vector<std::string>& arguments, std::ostream& out,
          std::ostream& err) {
  const int code = Run(arguments, out, err);
  // Nobody must take half of an answer for all of it.
  if (out.flush()) return code;
  return OutputError(err, "the standard output cannot be written.");
}

}  // namespace mesh::check

#include "mesh/security/rule_check.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "mesh/security/authorization.h"
#include "mesh/security/peer_pattern.h"
#include "mesh/security/spiffe_id.h"

namespace mesh::security {
namespace {

using options::HeaderMatch;
using options::Rule;
using options::ServerMode;
using Part = RuleProblem::Part;

// ---- Single parts ----

std::string MethodError(absl::string_view text) {
  absl::string_view method = text;
  const bool all = absl::ConsumeSuffix(&method, "/*");
  absl::string_view service, name;
  if (SplitPath(absl::StrCat("/", method, all ? "/any" : ""), &service,
                &name)) {
    return "";
  }
  return absl::StrCat(
      " must be \"package.Service/Method\" or \"package.Service/*\", of "
      "letters, digits, \"_\" and \".\", but is ",
      Quoted(text));
}

// Headers that end with the connection (RFC 9113, 8.2.2) or that gRPC takes for
// itself. A rule about one would see what the application does not, or nothing.
bool IsTransports(absl::string_view name) {
  static const auto* const names = new std::set<absl::string_view>{
      "connection", "content-type",      "host",
      "keep-alive", "proxy-connection",  "te",
      "trailer",    "transfer-encoding", "upgrade"};
  return names->count(name) > 0 || absl::StartsWith(name, "grpc-");
}

std::string NameError(absl::string_view name) {
  if (absl::StartsWith(name, ":")) {
    return " is a pseudo-header, and no rule can name one: \"methods\" is "
           "about the path, \"from\" about the caller";
  }
  const std::string lower = absl::AsciiStrToLower(name);
  if (lower != name) {
    return absl::StrCat(" must be in lower case, as HTTP/2 has it: write ",
                        Quoted(lower));
  }
  const bool legal =
      !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
        return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-' ||
               c == '_' || c == '.';
      });
  if (!legal) {
    return absl::StrCat(
        " must have a name of lower case letters, digits, \"-\", \"_\" and "
        "\".\", but has ",
        Quoted(name));
  }
  if (absl::EndsWith(name, "-bin")) {
    return " is binary, and no rule can name a header that is: use one whose "
           "name does not end with \"-bin\"";
  }
  if (IsTransports(name)) {
    return " belongs to gRPC or to the connection, and no rule can name it: "
           "use a header that the caller sets";
  }
  return "";
}

std::string ValueError(const HeaderMatch& match) {
  if (match.kind != HeaderMatch::Kind::kExact &&
      match.kind != HeaderMatch::Kind::kPrefix) {
    return "";
  }
  const std::string& value = match.value;
  if (match.kind == HeaderMatch::Kind::kPrefix && value.empty()) {
    return " has an empty prefix, which any value has: write \"present: true\"";
  }
  if (absl::StrContains(value, ',')) {
    return absl::StrCat(
        " has a comma, which stands between two values of a header: write one "
        "value, not ",
        Quoted(value));
  }
  const bool is_text = std::none_of(value.begin(), value.end(), [](char c) {
    return absl::ascii_iscntrl(static_cast<unsigned char>(c));
  });
  // What follows a prefix may begin with blanks.
  const bool blank =
      !value.empty() &&
      (value.front() == ' ' ||
       (match.kind == HeaderMatch::Kind::kExact && value.back() == ' '));
  if (!is_text || blank) {
    return absl::StrCat(
        " can match no header: a value has no control characters and no blanks "
        "around it, unlike ",
        Quoted(value));
  }
  return "";
}

// ---- What another rule covers ----

bool PeerCovers(absl::string_view wide, absl::string_view narrow) {
  if (wide == narrow) return true;
  if (absl::StartsWith(wide, "dns:")) {
    return absl::EqualsIgnoreCase(wide, narrow);
  }
  return absl::StartsWith(wide, "spiffe://") &&
         absl::ConsumeSuffix(&wide, "*") && absl::StartsWith(narrow, wide);
}

bool MethodCovers(absl::string_view wide, absl::string_view narrow) {
  if (wide == narrow) return true;
  return absl::ConsumeSuffix(&wide, "*") && absl::StartsWith(narrow, wide);
}

// Whether a call that `allow` matches always matches `deny`, too.
bool Implies(const HeaderMatch& allow, const HeaderMatch& deny) {
  using Kind = HeaderMatch::Kind;
  if (allow.name != deny.name) return false;
  if (deny.kind == Kind::kAbsent || allow.kind == Kind::kAbsent) {
    return deny.kind == allow.kind;
  }
  if (deny.kind == Kind::kPresent) return true;
  if (allow.kind == Kind::kPresent) return false;
  if (deny.kind == Kind::kPrefix) {
    return absl::StartsWith(allow.value, deny.value);
  }
  return allow.kind == Kind::kExact && allow.value == deny.value;
}

bool HeadersCover(const Rule& deny, const Rule& allow) {
  return std::all_of(
      deny.headers.begin(), deny.headers.end(), [&](const HeaderMatch& wide) {
        return std::any_of(
            allow.headers.begin(), allow.headers.end(),
            [&](const HeaderMatch& narrow) { return Implies(narrow, wide); });
      });
}

// `narrow` is empty where the rule is about any.
template <typename Covers>
bool AnyCovers(const std::vector<std::string>& wide, absl::string_view narrow,
               const Covers& covers) {
  if (wide.empty()) return true;
  return !narrow.empty() &&
         std::any_of(wide.begin(), wide.end(), [&](const std::string& text) {
           return covers(text, narrow);
         });
}

class Check {
 public:
  explicit Check(const options::ServerOptions& options) : options_(options) {}

  std::vector<RuleProblem> Run() {
    CheckList(options_.allow, /*deny=*/false);
    CheckList(options_.deny, /*deny=*/true);
    if (problems_.empty()) CheckCovered();
    return std::move(problems_);
  }

 private:
  void Add(bool deny, size_t rule, Part part, size_t item,
           std::string message) {
    if (message.empty()) return;
    problems_.push_back({deny, static_cast<int>(rule), part,
                         static_cast<int>(item), std::move(message)});
  }

  void CheckList(const std::vector<Rule>& rules, bool deny) {
    if (rules.size() > Authorization::kMaxRules) {
      problems_.push_back(
          {deny, -1, Part::kRule, 0,
           absl::StrCat(" must have at most ", Authorization::kMaxRules,
                        " rules, but has ", rules.size())});
      return;
    }
    for (size_t i = 0; i < rules.size(); ++i) CheckRule(rules[i], deny, i);
  }

  void CheckRule(const Rule& rule, bool deny, size_t index) {
    if (rule.from.empty() && rule.methods.empty() && rule.headers.empty()) {
      Add(deny, index, Part::kRule, 0,
          " says nothing of a call: write at least one of from, methods and "
          "headers");
    }
    for (size_t i = 0; i < rule.from.size(); ++i) {
      Add(deny, index, Part::kFrom, i, FromError(rule.from[i]));
    }
    for (size_t i = 0; i < rule.methods.size(); ++i) {
      Add(deny, index, Part::kMethods, i, MethodError(rule.methods[i]));
    }
    std::set<absl::string_view> names;
    for (size_t i = 0; i < rule.headers.size(); ++i) {
      const HeaderMatch& header = rule.headers[i];
      std::string error = NameError(header.name);
      if (error.empty()) error = ValueError(header);
      if (error.empty() && !names.insert(header.name).second) {
        error = " stands twice in a rule: write another rule";
      }
      Add(deny, index, Part::kHeaders, i, std::move(error));
    }
  }

  std::string FromError(const std::string& from) const {
    if (from == "plaintext") {
      if (options_.mode != ServerMode::kStrict) return "";
      return " has no effect: a strict server admits no plaintext. Remove it, "
             "or write \"mode: permissive\"";
    }
    const auto pattern = PeerPattern::Parse(from);
    if (!pattern.ok()) {
      return absl::StrCat(": ",
                          absl::StripSuffix(pattern.status().message(), "."));
    }
    if (options_.mode != ServerMode::kPlaintext) return "";
    return " has no effect: without TLS no caller has a name. Remove it, or "
           "write \"mode: permissive\"";
  }

  // Callers in `allow` that `deny` refuses whatever they call.
  void CheckCovered() {
    for (size_t i = 0; i < options_.allow.size(); ++i) {
      const Rule& rule = options_.allow[i];
      std::vector<size_t> denies;
      for (size_t j = 0; j < options_.deny.size(); ++j) {
        if (HeadersCover(options_.deny[j], rule)) denies.push_back(j);
      }
      if (rule.from.empty()) {
        Add(false, i, Part::kRule, 0, CoveredError(rule, "", denies));
      }
      for (size_t j = 0; j < rule.from.size(); ++j) {
        Add(false, i, Part::kFrom, j, CoveredError(rule, rule.from[j], denies));
      }
    }
  }

  std::string CoveredError(const Rule& rule, absl::string_view from,
                           const std::vector<size_t>& denies) const {
    std::set<size_t> covering;
    const auto is_covered = [&](absl::string_view method) {
      for (const size_t i : denies) {
        const Rule& deny = options_.deny[i];
        if (AnyCovers(deny.from, from, PeerCovers) &&
            AnyCovers(deny.methods, method, MethodCovers)) {
          covering.insert(i);
          return true;
        }
      }
      return false;
    };
    const bool all =
        rule.methods.empty()
            ? is_covered("")
            : std::all_of(rule.methods.begin(), rule.methods.end(), is_covered);
    if (!all) return "";
    const std::string rules =
        absl::StrJoin(covering, " and ", [](std::string* out, size_t i) {
          absl::StrAppend(out, "server.deny[", i, "]");
        });
    return absl::StrCat(" has no effect: what it allows is denied by ", rules,
                        ". Remove one of them");
  }

  const options::ServerOptions& options_;
  std::vector<RuleProblem> problems_;
};

std::string PathOf(const RuleProblem& problem,
                   const options::ServerOptions& options) {
  std::string path = problem.deny ? "server.deny" : "server.allow";
  if (problem.rule < 0) return path;
  absl::StrAppend(&path, "[", problem.rule, "]");
  const std::vector<Rule>& rules = problem.deny ? options.deny : options.allow;
  switch (problem.part) {
    case Part::kRule:
      break;
    case Part::kFrom:
      absl::StrAppend(&path, ".from[", problem.item, "]");
      break;
    case Part::kMethods:
      absl::StrAppend(&path, ".methods[", problem.item, "]");
      break;
    case Part::kHeaders:
      absl::StrAppend(&path, ".headers[",
                      Quoted(rules[problem.rule].headers[problem.item].name),
                      "]");
      break;
  }
  return path;
}

}  // namespace

std::vector<RuleProblem> RuleProblems(const options::ServerOptions& options) {
  return Check(options).Run();
}

absl::Status RulesStatus(const options::ServerOptions& options) {
  const std::vector<RuleProblem> problems = RuleProblems(options);
  if (problems.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(
      problems, "\n", [&](std::string* out, const RuleProblem& problem) {
        absl::StrAppend(out, PathOf(problem, options), problem.message, ".");
      }));
}

}  // namespace mesh::security

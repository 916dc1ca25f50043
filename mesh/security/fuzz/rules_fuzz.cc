// Rules and calls, from any bytes. What is decided is held against a plain
// reading of the rules.
//
// A line is a mode ("mode strict", "observe"), a rule ("deny from=PEER
// method=METHOD exact:NAME=VALUE") or a call ("call PEER PATH NAME=VALUE").

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "mesh/security/authorization.h"
#include "mesh/security/authorization_test_util.h"

namespace mesh::security {
namespace {

void Require(bool condition) {
  if (!condition) abort();
}

std::pair<std::string, std::string> Pair(absl::string_view text) {
  return absl::StrSplit(text, absl::MaxSplits('=', 1));
}

void ReadPart(absl::string_view part, options::Rule* rule) {
  using Kind = options::HeaderMatch::Kind;
  if (absl::ConsumePrefix(&part, "from=")) {
    rule->from.emplace_back(part);
  } else if (absl::ConsumePrefix(&part, "method=")) {
    rule->methods.emplace_back(part);
  }
  for (const auto& [word, kind] : {std::make_pair("exact:", Kind::kExact),
                                   std::make_pair("prefix:", Kind::kPrefix),
                                   std::make_pair("present:", Kind::kPresent),
                                   std::make_pair("absent:", Kind::kAbsent)}) {
    if (!absl::ConsumePrefix(&part, word)) continue;
    const auto [name, value] = Pair(part);
    rule->headers.push_back({name, kind, value});
  }
}

TestCall ReadCall(const std::vector<absl::string_view>& words) {
  TestCall call;
  for (size_t i = 1; i < words.size(); ++i) {
    absl::string_view word = words[i];
    if (i == 1 && word == "plaintext") {
      call.peer.plaintext = true;
    } else if (i == 1 && absl::ConsumePrefix(&word, "dns:")) {
      call.peer.dns_names.emplace_back(word);
    } else if (i == 1) {
      call.peer.spiffe_id = std::string(word);
    } else if (i == 2) {
      call.path = std::string(word);
    } else {
      call.headers.push_back(Pair(word));
    }
  }
  return call;
}

void Run(absl::string_view text) {
  options::ServerOptions options;
  std::vector<TestCall> calls;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    if (words[0] == "observe") {
      options.rules = options::Mode::kObserve;
    } else if (line == "mode permissive") {
      options.mode = options::ServerMode::kPermissive;
    } else if (line == "mode plaintext") {
      options.mode = options::ServerMode::kPlaintext;
    } else if (words[0] == "deny" || words[0] == "allow") {
      auto& list = words[0] == "deny" ? options.deny : options.allow;
      list.emplace_back();
      for (const absl::string_view word : words) ReadPart(word, &list.back());
    } else if (words[0] == "call") {
      calls.push_back(ReadCall(words));
    }
  }
  const auto rules = Authorization::Make(options);
  if (!rules.ok()) {
    Require(rules.status().code() == absl::StatusCode::kInvalidArgument);
    for (const absl::string_view line :
         absl::StrSplit(rules.status().message(), '\n')) {
      Require(absl::StartsWith(line, "server.") && absl::EndsWith(line, "."));
    }
    return;
  }
  const AuthorizationReference reference(options);
  for (const TestCall& call : calls) {
    std::vector<Header> headers = call.Headers();
    const Decision decision = (*rules)->Decide(call.peer, call.path, headers);
    Require(decision == reference.Decide(call));
    // The order in which headers come means nothing.
    std::reverse(headers.begin(), headers.end());
    Require(decision == (*rules)->Decide(call.peer, call.path, headers));
  }
}

}  // namespace
}  // namespace mesh::security

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mesh::security::Run(
      absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}

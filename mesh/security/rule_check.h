#ifndef MESH_SECURITY_RULE_CHECK_H_
#define MESH_SECURITY_RULE_CHECK_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "mesh/options/security.h"

namespace mesh::security {

// One thing that is wrong with the rules of a server, and where.
struct RuleProblem {
  enum class Part { kRule, kFrom, kMethods, kHeaders };

  bool deny = false;  // In `deny`; otherwise in `allow`.
  int rule = 0;       // Its place in that list. -1: the list itself.
  Part part = Part::kRule;
  int item = 0;         // The place in that part of the rule.
  std::string message;  // What is wrong and what would do, without a full stop.
};

// All that is wrong with `options`: what could have no effect. That is a peer
// or a method of no form, or a header that no call has. It is also a caller
// that the mode does not admit, or that `deny` covers whole. Pure.
std::vector<RuleProblem> RuleProblems(const options::ServerOptions& options);

// OK, or INVALID_ARGUMENT with a line for each problem,
// "server.allow[0].from[1]
// ...".
absl::Status RulesStatus(const options::ServerOptions& options);

}  // namespace mesh::security

#endif  // MESH_SECURITY_RULE_CHECK_H_

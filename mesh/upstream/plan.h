#ifndef MESH_UPSTREAM_PLAN_H_
#define MESH_UPSTREAM_PLAN_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "mesh/call/call_machine.h"
#include "mesh/options/mode.h"
#include "mesh/options/service.h"
#include "mesh/upstream/method_policies.h"

namespace mesh::upstream {

// A call that is about to begin, as its shell knows it.
struct CallShape {
  Method* method = nullptr;  // Null: nobody has registered it.
  absl::string_view name;    // The name of the method.
  bool unary = true;         // Otherwise a stream.
  // What the caller wants. Empty: the policy decides.
  std::optional<bool> wait_for_ready;
  // The shell keeps the request, so that it can be sent again. A stream's
  // request is kept only where its policy gives it `stream_bytes`.
  bool keeps_request = true;
};

// Whether the machine is to learn how long calls of the method take.
inline bool WantsLatency(const options::MethodOptions& policy, bool unary) {
  return unary && policy.hedging.mode != options::Mode::kOff;
}

// Whether what a stream sends is kept, to be sent again. Of a stream that may
// not be executed twice, only what has not left this process could be sent
// again. That is no more than a moment's worth. So it is kept only where the
// stream is to wait for an endpoint however long that takes.
inline bool KeepsStream(const options::MethodOptions& policy,
                        const call::CallPlan& plan) {
  return policy.retry.stream_bytes > 0 &&
         ((plan.idempotent && policy.retry.max_attempts > 1) ||
          plan.wait_for_ready);
}

// The part of a plan that follows from the policy and the call. The other
// pointers are left null. It is inline, since each call comes this way.
inline call::CallPlan PlanOf(const MethodPolicies& policies,
                             const CallShape& shape) {
  const options::MethodOptions& policy = policies.Of(shape.method, shape.name);
  call::CallPlan plan;
  plan.policy = &policy;
  if (policies.options() != nullptr) {
    plan.caps = &policies.options()->guards.caps;
  }
  plan.idempotent = policy.idempotent.value_or(
      shape.method != nullptr && shape.method->idempotent.value_or(false));
  plan.wait_for_ready =
      shape.wait_for_ready.value_or(policy.wait_for_ready.value_or(false));
  plan.unary = shape.unary;
  plan.replayable =
      shape.keeps_request && (shape.unary || KeepsStream(policy, plan));
  return plan;
}

}  // namespace mesh::upstream

#endif  // MESH_UPSTREAM_PLAN_H_

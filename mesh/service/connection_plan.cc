#include "mesh/service/connection_plan.h"

#include <algorithm>

namespace mesh::service {
namespace {

// How often an unwanted connection is looked at. Calls leave a count, but no
// time.
constexpr absl::Duration kLookForCalls = absl::Seconds(10);
// How often a renewal is looked at that waits for drained connections.
constexpr absl::Duration kLookAtDrains = absl::Milliseconds(250);

// The endpoints of one priority.
struct Group {
  size_t begin = 0;
  size_t end = 0;
  int ready = 0;
  int usable = 0;
  int trusted = 0;  // Not connected, but first dialled just now.
  int pending = 0;  // First dials that hold a place.
  int held = 0;     // Places of endpoints that failed before, or hang.
  int idle = 0;
  bool all_failed = true;
  absl::Time first_dial = absl::InfiniteFuture();

  int size() const { return static_cast<int>(end - begin); }
};

class Planner {
 public:
  Planner(absl::Span<const EndpointState> endpoints,
          const options::ConnectionOptions& options,
          const ConnectionWishes& wishes, absl::Time now)
      : endpoints_(endpoints), options_(options), wishes_(wishes), now_(now) {
    for (const EndpointState& endpoint : endpoints_) {
      connected_ |= endpoint.ready;
    }
    hangs_ = wishes_.wanted && !connected_ ? kDialHangsForCalls : kDialHangs;
    ahead_ = std::max(options_.ahead, wishes_.wanted && !connected_ ? 1 : 0);
  }

  ConnectionPlan Plan() {
    for (size_t begin = 0; begin < endpoints_.size();) {
      const Group group = Take(begin);
      PlanGroup(group);
      begin = group.end;
    }
    PlanSeconds();
    if (wishes_.asked && !connected_) Ask();
    return std::move(plan_);
  }

 private:
  bool IsIdle(const EndpointState& endpoint) const {
    return !endpoint.ready && !endpoint.dialling && endpoint.failures == 0;
  }
  bool HasFailed(const EndpointState& endpoint) const {
    return !endpoint.ready && !endpoint.dialling && endpoint.failures > 0;
  }
  void NotAfter(absl::Time at) {
    if (at > now_) plan_.next = std::min(plan_.next, at);
  }

  Group Take(size_t begin) {
    Group group;
    group.begin = group.end = begin;
    while (group.end < endpoints_.size() &&
           endpoints_[group.end].priority == endpoints_[begin].priority) {
      Count(endpoints_[group.end++], &group);
    }
    return group;
  }

  void Count(const EndpointState& endpoint, Group* group) {
    if (endpoint.ready) {
      ++group->ready;
      if (!endpoint.out) ++group->usable;
      group->all_failed = false;
      return;
    }
    if (endpoint.first_dial != absl::InfinitePast()) {
      group->first_dial = std::min(group->first_dial, endpoint.first_dial);
    }
    if (endpoint.failures > 0) {
      const bool waits = endpoint.redial_at > now_;
      if (endpoint.dialling || waits) ++group->held;
      if (waits) NotAfter(endpoint.redial_at);
      return;
    }
    group->all_failed = false;
    if (!endpoint.dialling) {
      ++group->idle;
      return;
    }
    if (endpoint.first_dial + kTrusted > now_) {
      ++group->trusted;
      NotAfter(endpoint.first_dial + kTrusted);
    }
    if (endpoint.dialled + hangs_ > now_) {
      ++group->pending;
      NotAfter(endpoint.dialled + hangs_);
    } else {
      ++group->held;
    }
  }

  void PlanGroup(const Group& group) {
    int target = 0;
    if (left_ > 0) {
      target = ahead_;
    } else if (!reserved_) {
      target = std::min(options_.ahead, options_.ahead == 1 ? 1 : 2);
      reserved_ = true;
    }
    // Where nothing better is connected, one is tried, whatever is hoped of the
    // dials of the priorities before.
    if (!connected_before_) target = std::max(target, std::min(ahead_, 1));
    target = std::min(target, group.size());
    const size_t begun = plan_.dial.size();
    if (open_ && target > 0) Dial(group, target - group.usable);
    const bool begins = plan_.dial.size() > begun;
    DropWhatLingers(group);
    // Where none is to be had ahead, one connection in use is enough.
    LeaveSurplus(group, connected_before_ ? target : std::max(target, 1));

    const int wanted = std::min(std::max(options_.ahead, 1), group.size());
    left_ -= kOverprovisioning * (group.usable + group.trusted) / wanted;
    connected_before_ |= group.ready > 0;
    if (!open_ || group.ready > 0 || group.all_failed) return;
    const absl::Time first =
        std::min(group.first_dial, begins ? now_ : absl::InfiniteFuture());
    open_ = first + kDialHangs <= now_;
    if (!open_ && first != absl::InfiniteFuture()) NotAfter(first + kDialHangs);
  }

  void Dial(const Group& group, int places) {
    if (!wishes_.may_dial) return;
    int pending = group.pending;
    for (size_t i = group.begin; i < group.end && pending < places; ++i) {
      if (!IsIdle(endpoints_[i])) continue;
      plan_.dial.push_back(i);
      ++pending;
      NotAfter(now_ + hangs_);
    }
    int free = places - pending - group.held;
    if (free <= 0) return;
    std::vector<size_t> due;
    for (size_t i = group.begin; i < group.end; ++i) {
      if (HasFailed(endpoints_[i]) && endpoints_[i].redial_at <= now_) {
        due.push_back(i);
      }
    }
    std::stable_sort(due.begin(), due.end(), [this](size_t a, size_t b) {
      return endpoints_[a].dialled < endpoints_[b].dialled;
    });
    for (size_t i : due) {
      if (free-- <= 0) break;
      plan_.dial.push_back(i);
    }
  }

  void DropWhatLingers(const Group& group) {
    for (size_t i = group.begin; i < group.end; ++i) {
      const EndpointState& endpoint = endpoints_[i];
      if (endpoint.dialling || endpoint.ready || !endpoint.connection) continue;
      if (std::find(plan_.dial.begin(), plan_.dial.end(), i) !=
          plan_.dial.end()) {
        continue;
      }
      if (endpoint.lingers) {
        if (endpoint.redial_at <= now_) plan_.drop.push_back(i);
      } else if (!endpoint.busy) {
        const absl::Time until = endpoint.used + kIdleLasts;
        if (until <= now_) plan_.drop.push_back(i);
        NotAfter(until);
      }
    }
  }

  void LeaveSurplus(const Group& group, int target) {
    int surplus = group.usable - target;
    for (size_t i = group.end; i-- > group.begin && surplus > 0;) {
      const EndpointState& endpoint = endpoints_[i];
      if (!endpoint.ready || endpoint.out) continue;
      const absl::Time until = endpoint.busy ? absl::InfiniteFuture()
                                             : endpoint.used + kSurplusLasts;
      if (until <= now_) {
        plan_.leave.push_back(i);
        --surplus;
      } else {
        NotAfter(std::min(until, now_ + kLookForCalls));
      }
    }
  }

  void PlanSeconds() {
    for (const EndpointState& endpoint : endpoints_) {
      if (endpoint.asked + kAskAgain > now_) ++asked_;
    }
    for (size_t i = 0; i < endpoints_.size(); ++i) {
      const EndpointState& endpoint = endpoints_[i];
      NotAfter(endpoint.term.expires_at);
      NotAfter(endpoint.term.gone_by);
      if (endpoint.ready) NotAfter(endpoint.term.renew_at);
      const bool leaves = std::find(plan_.leave.begin(), plan_.leave.end(),
                                    i) != plan_.leave.end();
      const bool renews = endpoint.term.renew_at <= now_ && !leaves;
      if (!endpoint.ready ||
          (!endpoint.silent && !endpoint.outdated && !renews)) {
        if (endpoint.second.made) plan_.single.push_back(i);
        continue;
      }
      if (endpoint.second.dialling || !wishes_.may_dial) continue;
      if (PlanSecond(i)) continue;
      if (renews) PlanRenewal(i);
    }
    std::stable_sort(
        renewals_.begin(), renewals_.end(), [this](size_t a, size_t b) {
          return endpoints_[a].term.renew_at < endpoints_[b].term.renew_at;
        });
    const size_t begin = wishes_.place && !renewals_.empty() ? 1 : 0;
    if (begin > 0) plan_.renew.push_back(renewals_.front());
    plan_.wants_place = renewals_.size() > begin;
  }

  // For one that is silent or outdated. False: none is dialled now.
  bool PlanSecond(size_t i) {
    const EndpointState& endpoint = endpoints_[i];
    if (!endpoint.silent && !endpoint.outdated) return false;
    absl::Time at = endpoint.second.redial_at;
    if (!endpoint.outdated) {
      at = std::max(at, endpoint.asked + kAskAgain);
      if (at <= now_ && ++asked_ > kMostAsked) at = now_ + kAskAgain;
    }
    NotAfter(at);
    if (at > now_) return false;
    plan_.second.push_back(i);
    return true;
  }

  void PlanRenewal(size_t i) {
    const EndpointState& endpoint = endpoints_[i];
    if (endpoint.second.redial_at > now_) {
      NotAfter(endpoint.second.redial_at);
    } else if (endpoint.term.urgent()) {
      plan_.renew.push_back(i);
    } else if (endpoint.draining >= kMostDraining) {
      NotAfter(now_ + kLookAtDrains);
    } else {
      renewals_.push_back(i);
    }
  }

  // One after the other, the better priorities first. A call that asks waits
  // until all that may be dialled has been dialled.
  void Ask() {
    bool dialling = !plan_.dial.empty();
    bool pending = dialling;
    int asked = 0;
    const EndpointState* best = nullptr;
    for (const EndpointState& endpoint : endpoints_) {
      const absl::Time again = endpoint.asked + kAskAgain;
      if (again > now_) {
        ++asked;
        plan_.ask_again = std::min(plan_.ask_again, again);
      }
      bool hangs = false;
      if (endpoint.dialling) {
        dialling = true;
        hangs = endpoint.dialled + kDialHangsForCalls <= now_;
        if (!hangs) {
          pending = true;
          NotAfter(endpoint.dialled + kDialHangsForCalls);
        }
      }
      if (again > now_) continue;
      if (!HasFailed(endpoint) && !(endpoint.blind && hangs)) continue;
      if (best == nullptr || (endpoint.priority == best->priority &&
                              endpoint.dialled < best->dialled)) {
        best = &endpoint;
      }
    }
    if (!pending && best != nullptr && asked < kMostAsked && wishes_.may_dial) {
      plan_.ask.push_back(best - endpoints_.data());
      NotAfter(now_ + kDialHangsForCalls);
      return;
    }
    plan_.in_vain = !dialling;
  }

  const absl::Span<const EndpointState> endpoints_;
  const options::ConnectionOptions& options_;
  const ConnectionWishes wishes_;
  const absl::Time now_;
  bool connected_ = false;  // To any endpoint.
  absl::Duration hangs_;
  int ahead_ = 0;

  // Their values change as the priorities are gone through.
  double left_ = 1;        // The part of the load that is left.
  bool reserved_ = false;  // The reserve is planned.
  bool open_ = true;       // The priority may be dialled.
  bool connected_before_ = false;
  int asked_ = 0;                 // Dials that count against kMostAsked.
  std::vector<size_t> renewals_;  // They are due, and not urgent.
  ConnectionPlan plan_;
};

}  // namespace

ConnectionTerm PlanTerm(ConnectionTerm term, uint64_t generation,
                        const Generations& generations, base::Random* random,
                        absl::Time now) {
  if (term.urgent()) return term;
  if (generation < generations.withdrawn_before || term.expires_at <= now) {
    term.gone_by = now + kUrgentLasts;
    term.renew_at =
        std::min(term.renew_at, now + random->Unit() * kUrgentSpread);
  } else if (generation < generations.newest &&
             term.renew_at == absl::InfiniteFuture()) {
    term.renew_at = now + random->Unit() * generations.spread;
  }
  return term;
}

ConnectionPlan PlanConnections(absl::Span<const EndpointState> endpoints,
                               const options::ConnectionOptions& options,
                               const ConnectionWishes& wishes, absl::Time now) {
  return Planner(endpoints, options, wishes, now).Plan();
}

RetirementPlan PlanRetirement(absl::Span<const RetiredState> retired,
                              absl::Time now) {
  RetirementPlan plan;
  for (size_t i = 0; i < retired.size(); ++i) {
    if (retired[i].drained) {
      plan.close.push_back(i);
    } else if (now >= retired[i].gone_by) {
      plan.sever.push_back(i);
    } else if (now >= retired[i].cut_off_at) {
      plan.cut_off.push_back(i);
    }
  }
  return plan;
}

}  // namespace mesh::service

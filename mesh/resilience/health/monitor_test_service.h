#ifndef MESH_RESILIENCE_HEALTH_MONITOR_TEST_SERVICE_H_
#define MESH_RESILIENCE_HEALTH_MONITOR_TEST_SERVICE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "mesh/base/random.h"
#include "mesh/cluster/live_endpoint.h"
#include "mesh/options/guards.h"
#include "mesh/options/mode.h"
#include "mesh/options/retry.h"
#include "mesh/resilience/health/monitor.h"

namespace mesh::resilience {

using cluster::Health;
using cluster::HealthCause;
using cluster::LiveEndpoint;
using cluster::LiveEndpointPtr;
using cluster::Readiness;
using options::Mode;

inline constexpr absl::StatusCode kOk = absl::StatusCode::kOk;
inline constexpr absl::StatusCode kUnavailable = absl::StatusCode::kUnavailable;
inline constexpr absl::StatusCode kInternal = absl::StatusCode::kInternal;

inline absl::Duration Ms(double milliseconds) {
  return absl::Microseconds(std::llround(milliseconds * 1000));
}

inline options::GuardOptions Defaults() { return {}; }

// For the tests of the monitor, whichever part they look at. Calls are made on
// virtual time; servers are functions of that.
class TestService : public HealthMonitor::Host {
 public:
  struct Server {
    // How long a call that begins now takes. InfiniteDuration: for ever.
    std::function<absl::Duration()> latency = [] { return Ms(1); };
    std::function<absl::StatusCode()> code = [] { return kOk; };
    bool stopped = false;  // Neither calls nor probes are answered.
    int attempts = 0;
    int waiting_probes = 0;
    std::vector<std::function<void()>> held;  // Until it goes on.
  };

  explicit TestService(int servers,
                       const options::GuardOptions& options = Defaults(),
                       uint64_t seed = 1)
      : random(seed),
        budget(options::RetryBudgetOptions{0.05, 5}, now),
        monitor(options, &budget, this),
        servers(servers) {
    for (int i = 0; i < servers; ++i) {
      cluster::Endpoint endpoint;
      endpoint.address = absl::StrCat("e", i);
      live.push_back(std::make_shared<LiveEndpoint>(endpoint));
      live.back()->set_readiness(Readiness::kReady);
    }
  }

  void Probe(LiveEndpoint* endpoint) override {
    ++probes;
    Server& server = servers[IndexOf(endpoint)];
    ++server.attempts;
    auto answer = [this, endpoint] {
      monitor.OnProbeDone(endpoint, true, now);
    };
    if (server.stopped) {
      server.held.push_back(answer);
    } else {
      At(now + Ms(1), answer);
    }
  }
  void OnHealthChange(const HealthChange& change) override {
    changes.push_back(change);
  }

  int IndexOf(const LiveEndpoint* endpoint) const {
    for (size_t i = 0; i < live.size(); ++i) {
      if (live[i].get() == endpoint) return static_cast<int>(i);
    }
    ADD_FAILURE() << "unknown endpoint";
    return 0;
  }
  Health health(int i) const { return live[i]->health(); }
  int Count(Health to, bool observed = false) const {
    return static_cast<int>(
        std::count_if(changes.begin(), changes.end(), [&](const auto& change) {
          return change.to == to && change.observed == observed;
        }));
  }

  // ---- By hand ----

  void Tick() {
    if (monitor.Due(now)) monitor.Tick(live, now);
  }
  // Lets time pass with a look each 25 ms and nothing else.
  void Pass(absl::Duration time) {
    const absl::Time end = now + time;
    while (now < end) {
      now = std::min(end, now + Ms(25));
      Tick();
    }
  }
  // One attempt, from begin to end; time passes.
  void Attempt(int i, absl::Duration latency, AttemptResult result = {}) {
    Begin(i);
    now += latency;
    End(i, latency, result);
  }
  void Begin(int i, bool unary = true) {
    ++servers[i].attempts;
    EXPECT_TRUE(live[i]->Acquire());
    monitor.OnAttemptStart(live[i].get(), unary, now);
  }
  void End(int i, absl::Duration latency, AttemptResult result = {}) {
    EndOn(live[i].get(), latency, result);
  }
  void EndOn(LiveEndpoint* endpoint, absl::Duration latency,
             AttemptResult result = {}) {
    result.latency = latency;
    if (result.pace == nullptr) result.pace = &pace;
    monitor.OnAttemptEnd(endpoint, result, now);
    endpoint->Release();
  }
  // Puts endpoint `i` on another connection, as a renewal does. Returns what it
  // was before.
  LiveEndpointPtr Replace(int i) {
    auto other = std::make_shared<LiveEndpoint>(live[i]->endpoint());
    other->set_readiness(Readiness::kReady);
    monitor.Inherit(live[i].get(), other.get());
    return std::exchange(live[i], std::move(other));
  }
  // Fails connections in a row until the endpoint is ejected for it.
  void FailConnections(int i, int count = 5) {
    for (int k = 0; k < count; ++k) {
      Attempt(i, Ms(0.1), Failure(kUnavailable, /*local=*/true));
    }
  }
  // Makes calls until no trial of `i` runs. A coin sends half of them to `i`
  // and half to `other`. `i` fails and is slow as these say. Returns the calls
  // on it.
  int TryOut(int i, int other, const AttemptResult& its,
             absl::Duration latency) {
    int calls = 0;
    for (int k = 0; k < 5000 && live[i]->trial() != 0; ++k) {
      const cluster::TrialTicket ticket(live[i]->trial(), random.Below(2) == 0);
      calls += ticket.here();
      AttemptResult result = ticket.here() ? its : AttemptResult();
      result.ticket = ticket;
      Attempt(ticket.here() ? i : other, ticket.here() ? latency : Ms(1),
              result);
      Tick();
    }
    return calls;
  }
  static AttemptResult Failure(absl::StatusCode code, bool local = false) {
    AttemptResult result;
    result.code = code;
    result.local = local;
    return result;
  }
  // Makes `n` calls to each, so that there is something to compare with.
  void Warm(int n = 200, absl::Duration latency = Ms(1)) {
    for (int k = 0; k < n; ++k) {
      for (size_t i = 0; i < live.size(); ++i) {
        Attempt(static_cast<int>(i), latency);
      }
      Tick();
    }
  }

  // ---- Traffic ----

  void At(absl::Time at, std::function<void()> run) {
    events_.push({at, next_++, std::move(run)});
  }
  void RunUntil(absl::Time until) {
    while (!events_.empty() && events_.top().at <= until) {
      const Event event = events_.top();
      events_.pop();
      now = event.at;
      event.run();
    }
    now = until;
  }
  void RunFor(absl::Duration time) { RunUntil(now + time); }

  // Picks by least request, or in turn, with regard to health and trials as
  // pickers have it.
  struct Choice {
    int endpoint;
    cluster::TrialTicket ticket;
  };
  Choice Pick(bool in_turn) {
    cluster::TrialTicket ticket;
    auto accepts = [&](int i) {
      LiveEndpoint& endpoint = *live[i];
      if (endpoint.available()) return true;
      if (endpoint.trial() != 0 && random.Below(255) < endpoint.share()) {
        if (ticket) return ticket.here();
        ticket = cluster::TrialTicket(endpoint.trial(), random.Below(2) == 0);
        return ticket.here();
      }
      if (endpoint.health() == Health::kProbing && endpoint.share() < 255) {
        return endpoint.ClaimProbe();
      }
      return random.Below(255) < endpoint.share();
    };
    // The coin decides.
    auto is_out = [&](int i) {
      return ticket && !ticket.here() && live[i]->trial() == ticket.trial();
    };
    const auto size = static_cast<uint32_t>(live.size());
    for (int tries = 0; tries < 50; ++tries) {
      if (in_turn) {
        const auto i = static_cast<int>(turn_++ % size);
        if (accepts(i)) return {i, ticket};
        continue;
      }
      const auto a = static_cast<int>(random.Below(size));
      const auto b = static_cast<int>(
          size == 1 ? 0 : (a + 1 + random.Below(size - 1)) % size);
      const bool second = is_out(a) || (!is_out(b) && live[b]->in_flight() <
                                                          live[a]->in_flight());
      const int i = second ? b : a;
      if (accepts(i)) return {i, ticket};
    }
    return {static_cast<int>(random.Below(size)), ticket};
  }

  // Makes calls at random, `rate` per second, until then. What is not answered
  // within `deadline` fails. With `hedge_after` it is given up then.
  void Load(double rate, absl::Time until, bool in_turn = false,
            absl::Duration deadline = absl::Seconds(1),
            absl::Duration hedge_after = absl::InfiniteDuration()) {
    const absl::Time next =
        now + absl::Seconds(-std::log(1 - random.Unit()) / rate);
    if (next > until) return;
    At(next, [=] {
      Call(Pick(in_turn), deadline, hedge_after);
      Load(rate, until, in_turn, deadline, hedge_after);
    });
  }
  void Call(const Choice& choice, absl::Duration deadline,
            absl::Duration hedge_after) {
    const int i = choice.endpoint;
    Tick();
    Begin(i);
    auto done = std::make_shared<bool>(false);
    const absl::Time start = now;
    auto end = [this, on = live[i], start, done,
                ticket = choice.ticket](AttemptResult result) {
      if (*done) return;
      result.ticket = ticket;
      *done = true;
      if (result.code != kOk && !result.given_up) ++failed;
      EndOn(on.get(), now - start, result);
    };
    Server& server = servers[i];
    const absl::Duration latency =
        server.stopped ? absl::InfiniteDuration() : server.latency();
    auto answer = [end, code = server.code()] {
      AttemptResult result;
      result.code = code;
      end(result);
    };
    if (latency < absl::InfiniteDuration()) {
      At(now + latency, answer);
    } else if (server.stopped) {
      server.held.push_back(answer);
    }
    if (hedge_after < absl::InfiniteDuration()) {
      At(now + hedge_after, [end] {
        AttemptResult result;
        result.code = absl::StatusCode::kCancelled;
        result.local = result.given_up = true;
        end(result);
      });
    }
    if (deadline < absl::InfiniteDuration()) {
      At(now + deadline, [end] {
        end(Failure(absl::StatusCode::kDeadlineExceeded, /*local=*/true));
      });
    }
  }
  void Continue(int i) {
    servers[i].stopped = false;
    std::vector<std::function<void()>> held;
    held.swap(servers[i].held);
    for (auto& answer : held) At(now, answer);
  }

  absl::Time now = absl::UnixEpoch() + absl::Hours(1000);
  base::Random random;

 private:
  struct Event {
    absl::Time at;
    int order;
    std::function<void()> run;
    bool operator<(const Event& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };

 public:
  RetryBudget budget;
  MethodPace pace;  // How long its calls take, unless another one is given.
  HealthMonitor monitor;
  std::vector<Server> servers;
  std::vector<LiveEndpointPtr> live;
  std::vector<HealthChange> changes;
  int probes = 0;
  int failed = 0;

 private:
  std::priority_queue<Event> events_;
  int next_ = 0;
  uint64_t turn_ = 0;
};

inline std::function<absl::Duration()> LogNormal(TestService* service,
                                                 absl::Duration median,
                                                 double sigma) {
  return [=] {
    const double u = 1 - service->random.Unit(), v = service->random.Unit();
    const double normal =
        std::sqrt(-2 * std::log(u)) * std::cos(2 * std::acos(-1.0) * v);
    return median * std::exp(sigma * normal);
  };
}

}  // namespace mesh::resilience

#endif  // MESH_RESILIENCE_HEALTH_MONITOR_TEST_SERVICE_H_

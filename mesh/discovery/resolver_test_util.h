#ifndef MESH_DISCOVERY_RESOLVER_TEST_UTIL_H_
#define MESH_DISCOVERY_RESOLVER_TEST_UTIL_H_

#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/base/event_loop.h"
#include "mesh/base/mutex.h"
#include "mesh/config/loader.h"
#include "mesh/discovery/resolver.h"

namespace mesh::discovery {

using Addresses = std::vector<std::string>;

// Runs `work` on `loop` and waits for it.
inline void RunOn(base::EventLoop& loop, std::function<void()> work) {
  std::promise<void> done;
  loop.Post([&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

// A resolver on a loop, and what it reported.
class Watched {
 public:
  using Make = std::function<std::unique_ptr<Resolver>(base::EventLoop*)>;

  explicit Watched(options::EndpointSource source)
      : Watched([&](base::EventLoop* loop) {
          return MakeResolver(source, loop, config::ParseEndpoints);
        }) {}
  explicit Watched(const Make& make) {
    RunOn(loop_, [&] {
      resolver_ = make(&loop_);
      resolver_->Start([this](absl::StatusOr<cluster::EndpointSetPtr> update) {
        // A copy of its own. The system's Abseil counts the references of a
        // shared status, and the thread sanitizer does not see that.
        if (!update.ok()) {
          update = absl::Status(update.status().code(),
                                std::string(update.status().message()));
        }
        base::MutexLock lock(&mu_);
        reports_.push_back(std::move(update));
        reported_.Signal();
      });
    });
  }
  ~Watched() { Destroy(); }

  void Destroy() {
    RunOn(loop_, [this] { resolver_.reset(); });
  }
  void Refresh() {
    RunOn(loop_, [this] { resolver_->Refresh(); });
  }
  void AskAgain() {
    RunOn(loop_, [this] { resolver_->AskAgain(); });
  }

  // The next report, at most `patience` later. That is a generous bound. Where
  // nothing is to come, it is how long to make sure of that
  // (DEADLINE_EXCEEDED).
  absl::StatusOr<cluster::EndpointSetPtr> NextSet(
      absl::Duration patience = absl::Seconds(40)) {
    const absl::Time until = base::Clock::Real().Now() + patience;
    base::MutexLock lock(&mu_);
    while (reports_.empty()) {
      const absl::Duration left = until - base::Clock::Real().Now();
      if (left <= absl::ZeroDuration()) {
        return absl::DeadlineExceededError("nothing reported");
      }
      reported_.WaitWithTimeout(&mu_, left);
    }
    const auto report = reports_.front();
    reports_.pop_front();
    return report;
  }

  // Its addresses.
  absl::StatusOr<Addresses> Next(absl::Duration patience = absl::Seconds(40)) {
    const auto set = NextSet(patience);
    if (!set.ok()) return set.status();
    Addresses addresses;
    for (const auto& endpoint : (*set)->endpoints) {
      addresses.push_back(endpoint.address);
    }
    return addresses;
  }

  bool Silent(absl::Duration patience) {
    return Next(patience).status().code() ==
           absl::StatusCode::kDeadlineExceeded;
  }

 private:
  base::Mutex mu_;
  base::CondVar reported_;
  std::deque<absl::StatusOr<cluster::EndpointSetPtr>> reports_;
  std::unique_ptr<Resolver> resolver_;  // On the loop's thread.
  base::EventLoop loop_{"test"};
};

}  // namespace mesh::discovery

#endif  // MESH_DISCOVERY_RESOLVER_TEST_UTIL_H_

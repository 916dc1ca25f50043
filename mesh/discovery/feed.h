#ifndef MESH_DISCOVERY_FEED_H_
#define MESH_DISCOVERY_FEED_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"
#include "mesh/base/scheduler.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/discovery/resolver.h"
#include "mesh/discovery/update_filter.h"
#include "mesh/log.h"
#include "mesh/options/endpoints.h"

namespace mesh::discovery {

// The endpoints of one service as they are to be used, and what went wrong.
// They are what its resolver reports, less what an UpdateFilter doubts. Control
// thread only, except stats().
class Feed {
 public:
  // What its service does about it. On the control thread, maybe inside
  // Start().
  class Listener {
   public:
    // The endpoints are these now.
    virtual void OnEndpoints(const cluster::EndpointSetPtr& set) = 0;
    // There are no endpoints yet, and error() says why.
    virtual void OnNoEndpoints() = 0;

   protected:
    ~Listener() = default;
  };

  using MakeResolver = std::function<std::unique_ptr<Resolver>(
      const options::EndpointSource& source)>;

  // What it acts through. All of it outlives the feed.
  struct Seams {
    // Its closures run on the control thread, and only while the feed lives.
    std::shared_ptr<base::Scheduler> control;
    const base::Clock* clock = nullptr;
    MakeResolver make_resolver;
    LogSink log;
  };

  // Counts since construction, and what the last resolution said.
  struct Stats {
    uint64_t updates = 0;
    uint64_t failures = 0;
    uint64_t doubted = 0;
    std::string error;  // Empty: it went well.
  };

  // `name`: the service's, for log lines.
  Feed(std::string name, Seams seams, Listener* listener);
  ~Feed();
  Feed(const Feed&) = delete;
  Feed& operator=(const Feed&) = delete;

  // Begins anew with `source`. The set in force stays until there is another
  // one.
  void Start(const options::EndpointSource& source);
  // Ends, and forgets that there was a set.
  void Stop();
  // A hint that the endpoints may have changed.
  void Refresh();
  // There are no endpoints, and a call wants one.
  void AskAgain();

  // Whether the listener has been given a set since the last Stop().
  bool resolved() const { return resolved_; }
  // What the last resolution met. OK: it went well, or there was none.
  const absl::Status& error() const { return error_; }

  Stats stats() const;  // Any thread.

 private:
  void End();
  void OnResolved(absl::StatusOr<cluster::EndpointSetPtr> update);
  void Apply(const UpdateFilter::Decision& decision);

  // Constant.
  const std::string name_;
  const Seams seams_;
  Listener* const listener_;

  // Control thread only.
  std::unique_ptr<Resolver> resolver_;
  UpdateFilter filter_;
  base::Scheduler::TimerId filter_timer_ = 0;
  bool resolved_ = false;
  absl::Status error_;

  mutable base::Mutex mu_;
  Stats stats_ ABSL_GUARDED_BY(mu_);
};

}  // namespace mesh::discovery

#endif  // MESH_DISCOVERY_FEED_H_

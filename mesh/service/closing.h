#ifndef MESH_SERVICE_CLOSING_H_
#define MESH_SERVICE_CLOSING_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "mesh/base/clock.h"
#include "mesh/base/scheduler.h"
#include "mesh/service/connection.h"
#include "mesh/service/connection_plan.h"
#include "mesh/service/endpoint.h"
#include "mesh/service/live_streams.h"

namespace mesh::service {

// The connections of one service that calls which begin are not to use. It lets
// those that run end, and ends them where their time is over. Then it closes
// the connection. All members on the control thread.
class Closing {
 public:
  // What its service does for it. On the control thread.
  class Host {
   public:
    // Closes a connection that no call uses, once it may be closed.
    virtual void CloseConnection(std::unique_ptr<Connection> connection) = 0;
    // Ends what mesh itself does on an endpoint.
    virtual void EndOwnCalls(const ConnectedEndpoint* endpoint) = 0;
    // Ends the streams on an endpoint.
    virtual void CutOff(const ConnectedEndpoint* endpoint,
                        LiveStreams::Cause cause) = 0;

   protected:
    ~Host() = default;
  };

  // Closures on `control` run on the control thread, and only while the object
  // lives. All three outlive it.
  Closing(std::shared_ptr<base::Scheduler> control, const base::Clock* clock,
          Host* host);
  // Closes all of them.
  ~Closing();
  Closing(const Closing&) = delete;
  Closing& operator=(const Closing&) = delete;

  // How long streams on them may last, and which of them are withdrawn.
  void Configure(absl::Duration drain_timeout, const Generations& generations);

  // `now` has taken the place of `before`. RetireReplaced() retires that.
  // `silent`: it said nothing. It may be alive, so its streams are left alone
  // until it is known to be dead.
  void Replaced(std::shared_ptr<ConnectedEndpoint> before,
                std::shared_ptr<ConnectedEndpoint> now, bool silent);
  void RetireReplaced();
  // Lets no new call on `endpoint`, waits for those that run, and disconnects.
  // Sweep() is due.
  void Retire(std::shared_ptr<ConnectedEndpoint> endpoint);
  // Closes the connection of `endpoint`, whose dial().leaving is set, unless
  // that is taken back. Some calls may still know it as connected.
  void Leave(std::shared_ptr<ConnectedEndpoint> endpoint);
  // Closes a connection that `endpoint`, which lives on, has had.
  void Drop(std::shared_ptr<ConnectedEndpoint> endpoint,
            std::unique_ptr<Connection> connection);
  // Does what is due now, and will go on by itself.
  void Sweep();

  // How many connections that lost their place to `endpoint`, or to one before
  // it, are still open.
  int Draining(const ConnectedEndpoint* endpoint) const;
  // One that was dropped. Null: it is closed.
  Connection* FindDropped(const ConnectedEndpoint* endpoint,
                          uint64_t number) const;

 private:
  struct Retired {
    std::shared_ptr<ConnectedEndpoint> endpoint;
    absl::Time cut_off_at;
    // The one that has its place, and how many calls that one counts for it.
    std::shared_ptr<ConnectedEndpoint> successor;  // Null: none.
    int64_t counted = 0;
    // It was silent when it lost its place. It is dead when its successor has
    // answered more than it had then, and it has brought nothing a while later.
    bool silent = false;
    uint64_t answered = 0;
    uint64_t brought = 0;
    absl::Time quiet_since = absl::InfiniteFuture();
  };
  // The connection of an endpoint that lives on.
  struct Dropped {
    std::shared_ptr<ConnectedEndpoint> endpoint;
    std::unique_ptr<Connection> connection;
  };
  // An endpoint that calls are no longer to use. Some may still know it.
  struct Leaving {
    std::shared_ptr<ConnectedEndpoint> endpoint;
    absl::Time at;
  };

  void Close(ConnectedEndpoint* endpoint);
  void Inherit(Retired* retired, std::shared_ptr<ConnectedEndpoint> successor);
  void CountBefore(Retired* retired);
  void BreakIfDead(Retired* retired, absl::Time now);
  const ConnectionTerm& TermOf(Connection* connection, absl::Time now);
  // Ends all that runs on a connection of `endpoint`. Null: it has none.
  void Sever(const ConnectedEndpoint* endpoint, Connection* connection);
  void SweepLeaving(absl::Time now);
  void SweepRetired(absl::Time now);
  void SweepDropped(absl::Time now);

  // Constant.
  const std::shared_ptr<base::Scheduler> control_;
  const base::Clock* const clock_;
  Host* const host_;

  // Control thread only.
  absl::Duration drain_timeout_;
  Generations generations_;
  std::vector<Retired> replaced_;  // To be retired.
  std::vector<Leaving> leaving_;
  std::vector<Dropped> dropped_;
  std::vector<Retired> retired_;
  base::Scheduler::TimerId timer_ = 0;
};

}  // namespace mesh::service

#endif  // MESH_SERVICE_CLOSING_H_

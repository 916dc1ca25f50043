// The agent of the bench rotation: a Workload API at each socket. It prints the
// address of its control, then an empty line, and runs until it is killed.
//
//   identity_agent --sockets=PATH,...

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "benchmarks/identity/control.grpc.pb.h"
#include "benchmarks/identity/process_side.h"
#include "benchmarks/outages/world.h"
#include "mesh/certs/agent.h"

namespace mesh::benchmarks {
namespace {

using Agents = std::vector<std::unique_ptr<certs::Agent>>;

class Steering final : public identity::Control::Service {
 public:
  explicit Steering(Agents agents) : agents_(std::move(agents)) {}

  grpc::Status GetStats(grpc::ServerContext*, const identity::StatsRequest*,
                        identity::Stats* stats) override {
    for (const auto& agent : agents_) stats->add_streams(agent->open());
    return grpc::Status::OK;
  }

  grpc::Status Push(grpc::ServerContext*, const identity::PushRequest* request,
                    identity::PushReply*) override {
    agents_.at(static_cast<size_t>(request->socket()))->Push(request->answer());
    return grpc::Status::OK;
  }

 private:
  const Agents agents_;
};

int Run(int argc, char** argv) {
  Flags flags = ParseFlags(argc, argv, {"sockets"});
  Agents agents;
  for (const absl::string_view path : absl::StrSplit(flags["sockets"], ',')) {
    auto agent = certs::Agent::Start(absl::StrCat("unix:", path));
    if (!agent.ok()) Die(agent.status().message());
    agents.push_back(*std::move(agent));
  }
  Steering steering(std::move(agents));
  const ControlServer control(&steering);
  AnnounceAndStay({control.address()});
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Run(argc, argv); }

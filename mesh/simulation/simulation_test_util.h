// What the tests of the simulation share.

#ifndef MESH_SIMULATION_SIMULATION_TEST_UTIL_H_
#define MESH_SIMULATION_SIMULATION_TEST_UTIL_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/simulation/simulation.h"

namespace mesh::simulation {

inline constexpr absl::Duration kMs = absl::Milliseconds(1);

// Three servers that answer in about 5 ms, called 200 times a second.
inline Cluster Three() {
  Cluster cluster;
  for (const char* name : {"a", "b", "c"}) {
    Server server;
    server.address = name;
    cluster.servers.push_back(server);
  }
  cluster.loads = {Load::Open("/shop.Cart/Get", 200)};
  cluster.loads[0].deadline = absl::Seconds(2);
  return cluster;
}

inline options::ServiceOptions Idempotent() {
  options::ServiceOptions service;
  service.name = "cart";
  service.policy.idempotent = true;
  return service;
}

inline options::ServiceOptions WithoutHealth(options::ServiceOptions service) {
  service.guards.outlier_ejection.mode = options::Mode::kOff;
  service.guards.silence.mode = options::Mode::kOff;
  return service;
}

inline Options For(absl::Duration duration, uint64_t seed = 1) {
  Options options;
  options.duration = duration;
  options.seed = seed;
  return options;
}

inline Result RunOk(const options::ServiceOptions& service,
                    const Cluster& cluster, const Options& options) {
  absl::StatusOr<Result> result = Simulate(service, cluster, options);
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) return Result();
  EXPECT_THAT(result->violations, ::testing::IsEmpty());
  return *std::move(result);
}

}  // namespace mesh::simulation

#endif  // MESH_SIMULATION_SIMULATION_TEST_UTIL_H_

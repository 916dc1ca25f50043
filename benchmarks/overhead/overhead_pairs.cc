// Times two kinds of channel against each other, in short interleaved blocks of
// unary sync calls: A B B A, then B A A B, and so on. So whatever changes
// slowly on the machine meets both alike.
//
//   overhead_pairs ARM_A ADDRESS_A ARM_B ADDRESS_B SECONDS SWAPPED
//
// ARM_* are MakeChannel()'s. SWAPPED 1 makes B's channel first and begins with
// B. It prints a line for each group of four blocks. The line has the CPU
// seconds of this process in A's and in B's blocks, then the wall seconds in
// A's and in B's.

#include <time.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/numbers.h"
#include "benchmarks/overhead/arms.h"
#include "benchmarks/overhead/echo.grpc.pb.h"
#include "grpcpp/client_context.h"

namespace mesh::benchmarks {
namespace {

using echo::Echo;
using echo::EchoMessage;

constexpr int kCallsABlock = 100;
constexpr int kWarmUpBlocks = 10;

double Seconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec + now.tv_nsec * 1e-9;
}

struct Arm {
  std::unique_ptr<Echo::Stub> stub;
  double cpu = 0;
  double wall = 0;
};

void RunBlock(Arm* arm, bool wait_for_ready) {
  EchoMessage request, response;
  request.set_payload(std::string(64, 'x'));
  const double cpu = Seconds(CLOCK_PROCESS_CPUTIME_ID);
  const double wall = Seconds(CLOCK_MONOTONIC);
  for (int i = 0; i < kCallsABlock; ++i) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(60));
    if (wait_for_ready) context.set_wait_for_ready(true);
    const grpc::Status status = arm->stub->Unary(&context, request, &response);
    if (!status.ok()) {
      std::fprintf(stderr, "overhead_pairs: a call failed: %s\n",
                   status.error_message().c_str());
      std::exit(1);
    }
  }
  arm->cpu += Seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  arm->wall += Seconds(CLOCK_MONOTONIC) - wall;
}

int Run(int argc, char** argv) {
  double seconds = 0;
  if (argc != 7 || !absl::SimpleAtod(argv[5], &seconds)) {
    std::fprintf(stderr,
                 "usage: overhead_pairs ARM_A ADDRESS_A ARM_B ADDRESS_B "
                 "SECONDS SWAPPED\n");
    return 1;
  }
  const bool swapped = argv[6][0] == '1';
  Arm arms[2];
  const auto make = [&](int i) {
    arms[i].stub =
        Echo::NewStub(MakeChannel(argv[1 + 2 * i], {argv[2 + 2 * i]}));
  };
  make(swapped ? 1 : 0);
  make(swapped ? 0 : 1);
  for (int i = 0; i < kWarmUpBlocks; ++i) {
    RunBlock(&arms[0], /*wait_for_ready=*/true);
    RunBlock(&arms[1], /*wait_for_ready=*/true);
  }
  const double end = Seconds(CLOCK_MONOTONIC) + seconds;
  for (int first = swapped ? 1 : 0; Seconds(CLOCK_MONOTONIC) < end;
       first = 1 - first) {
    for (Arm& arm : arms) arm.cpu = arm.wall = 0;
    for (const int i : {first, 1 - first, 1 - first, first}) {
      RunBlock(&arms[i], /*wait_for_ready=*/false);
    }
    std::printf("%.9f %.9f %.9f %.9f\n", arms[0].cpu, arms[1].cpu, arms[0].wall,
                arms[1].wall);
  }
  return 0;
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Run(argc, argv); }

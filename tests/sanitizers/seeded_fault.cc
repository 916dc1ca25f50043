// A fault on purpose, in code that gRPC calls: a sanitizer that does not find
// it would not find ours. usage: seeded_fault race|leak|overflow|undefined

#include <condition_variable>
#include <cstdio>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "tests/sanitizers/echo.h"

namespace mesh::test {
namespace {

// What callbacks do to it is the fault.
struct State {
  int racy = 0;
  std::mutex mu;
  std::condition_variable done;
  int outstanding = 0;
  std::vector<char>* buffer = new std::vector<char>(8);
};

void Fault(const std::string& kind, State* state) {
  if (kind == "race") ++state->racy;
  if (kind == "leak") (new std::string(1000, 'x'))->clear();
  if (kind == "overflow") {
    volatile char* const data = state->buffer->data();
    data[state->buffer->size()] = 1;
  }
  if (kind == "undefined") {
    volatile int big = std::numeric_limits<int>::max();
    big = big + 1;
  }
}

struct Call {
  grpc::ClientContext context;
  Request request;
  Reply reply;
};

int Run(const std::string& kind) {
  CallbackEcho service("echo ");
  std::string address;
  const auto server = StartServer(&service, &address);
  const auto stub = TestService::NewStub(
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  State state;
  for (int i = 0; i < 2000; ++i) {
    {
      std::lock_guard<std::mutex> lock(state.mu);
      ++state.outstanding;
    }
    auto* const call = new Call;
    stub->async()->Unary(&call->context, &call->request, &call->reply,
                         [&state, &kind, call](grpc::Status) {
                           Fault(kind, &state);
                           delete call;
                           std::lock_guard<std::mutex> lock(state.mu);
                           if (--state.outstanding == 0) {
                             state.done.notify_one();
                           }
                         });
  }
  std::unique_lock<std::mutex> lock(state.mu);
  state.done.wait(lock, [&state] { return state.outstanding == 0; });
  delete state.buffer;
  server->Shutdown();
  return 0;
}

}  // namespace
}  // namespace mesh::test

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr,
                 "usage: seeded_fault race|leak|overflow|undefined|none\n");
    return 2;
  }
  return mesh::test::Run(argv[1]);
}

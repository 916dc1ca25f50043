// Many calls at once with callbacks. Nothing here is different from plain gRPC
// but the channel: each callback runs once, when its call has ended, however
// often it was tried.
//
//   callback ADDRESS[,ADDRESS...]

#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

#include "examples/hello/hello.grpc.pb.h"
#include "mesh/mesh.h"

namespace {

// What a call needs until its end.
struct GreetCall {
  grpc::ClientContext context;
  hello::GreetRequest request;
  hello::GreetReply reply;
};

}  // namespace

int main(int argc, char** argv) {
  auto greeter =
      hello::Greeter::NewStub(mesh::CreateChannel(argc > 1 ? argv[1] : ""));

  std::mutex mu;
  std::condition_variable changed;
  int failed = 0;  // Guarded by mu, as the next.
  constexpr int kCalls = 10;
  int running = kCalls;
  std::vector<GreetCall> calls(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    GreetCall& call = calls[i];
    call.request.set_name("number " + std::to_string(i));
    greeter->async()->Greet(
        &call.context, &call.request, &call.reply, [&](grpc::Status status) {
          std::lock_guard<std::mutex> lock(mu);
          if (!status.ok()) ++failed;
          puts(status.ok() ? call.reply.text().c_str()
                           : status.error_message().c_str());
          if (--running == 0) changed.notify_one();
        });
  }

  std::unique_lock<std::mutex> lock(mu);
  changed.wait(lock, [&] { return running == 0; });
  return failed == 0 ? 0 : 1;
}

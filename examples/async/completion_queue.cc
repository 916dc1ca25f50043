// Many calls at once through a completion queue. Nothing here is different from
// plain gRPC but the channel: retries happen below the queue, on its threads,
// and each call's tag comes out once.
//
//   completion_queue ADDRESS[,ADDRESS...]

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "examples/hello/hello.grpc.pb.h"
#include "mesh/mesh.h"

namespace {

// What a call needs until its end.
struct GreetCall {
  grpc::ClientContext context;
  hello::GreetReply reply;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<hello::GreetReply>> reader;
};

}  // namespace

int main(int argc, char** argv) {
  auto greeter =
      hello::Greeter::NewStub(mesh::CreateChannel(argc > 1 ? argv[1] : ""));
  grpc::CompletionQueue queue;

  constexpr int kCalls = 10;
  std::vector<GreetCall> calls(kCalls);
  for (int i = 0; i < kCalls; ++i) {
    GreetCall& call = calls[i];
    hello::GreetRequest request;
    request.set_name("number " + std::to_string(i));
    call.reader = greeter->AsyncGreet(&call.context, request, &queue);
    call.reader->Finish(&call.reply, &call.status, &call);
  }

  int failed = 0;
  for (int i = 0; i < kCalls; ++i) {
    void* tag = nullptr;
    bool ok = false;
    if (!queue.Next(&tag, &ok)) return 1;
    const GreetCall& call = *static_cast<GreetCall*>(tag);
    if (!call.status.ok()) ++failed;
    puts(call.status.ok() ? call.reply.text().c_str()
                          : call.status.error_message().c_str());
  }
  return failed == 0 ? 0 : 1;
}

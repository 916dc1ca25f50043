// Streams: each one goes to one endpoint, chosen when it starts. If it fails
// before its answer begins, it is tried elsewhere, as far as the method may be
// repeated. From then on it ends with its endpoint. An application that must go
// on starts a new one.
//
//   streaming ADDRESS[,ADDRESS...]

#include <cstdio>
#include <memory>

#include "examples/hello/hello.grpc.pb.h"
#include "mesh/mesh.h"

namespace {

// One request, many replies.
grpc::Status Countdown(hello::Greeter::Stub& greeter) {
  grpc::ClientContext context;
  hello::CountdownRequest request;
  request.set_from(3);
  const auto replies = greeter.Countdown(&context, request);
  hello::GreetReply reply;
  while (replies->Read(&reply)) puts(reply.text().c_str());
  return replies->Finish();
}

// Many requests, many replies, in turn.
grpc::Status Chat(hello::Greeter::Stub& greeter) {
  grpc::ClientContext context;
  const auto stream = greeter.Chat(&context);
  for (const char* name : {"Ada", "Grace", "Barbara"}) {
    hello::GreetRequest request;
    request.set_name(name);
    hello::GreetReply reply;
    if (!stream->Write(request) || !stream->Read(&reply)) break;
    puts(reply.text().c_str());
  }
  stream->WritesDone();
  return stream->Finish();
}

}  // namespace

int main(int argc, char** argv) {
  auto greeter =
      hello::Greeter::NewStub(mesh::CreateChannel(argc > 1 ? argv[1] : ""));
  for (const grpc::Status& status : {Countdown(*greeter), Chat(*greeter)}) {
    if (!status.ok()) {
      puts(status.error_message().c_str());
      return 1;
    }
  }
  return 0;
}

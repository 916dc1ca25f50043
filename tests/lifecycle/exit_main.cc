// Leaves the process in some way (argv[1]) while calls to the servers (argv[2],
// separated by commas) are in flight, and in all of them the objects that are
// left are left as an application would: static, leaked or on a thread's stack.

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "grpcpp/grpcpp.h"
#include "mesh/mesh.h"
#include "mesh/v1/config.pb.h"
#include "tests/support/test_service.grpc.pb.h"

// What is in flight when the process exits is a leak by intent.
extern "C" int __lsan_is_turned_off() { return 1; }

namespace {

using mesh::test::Reply;
using mesh::test::Request;
using mesh::test::TestService;

// What is static goes in the reverse order of its making.
std::unique_ptr<mesh::Mesh>& StaticMesh() {
  static std::unique_ptr<mesh::Mesh> mesh;
  return mesh;
}
std::shared_ptr<grpc::ChannelInterface>& StaticChannel() {
  static std::shared_ptr<grpc::ChannelInterface> channel;
  return channel;
}

struct Call {
  grpc::ClientContext context;
  Request request;
  Reply reply;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Reply>> reader;
  std::unique_ptr<grpc::ClientReader<Reply>> stream;
};

Call* LeakedCall() {
  auto* const call = new Call;
  call->request.mutable_directives()->set_sleep_ms(20000);
  return call;
}

void StartCallbacks(TestService::Stub* stub, int n, int64_t sleep_ms = 20000) {
  for (int i = 0; i < n; ++i) {
    Call* const call = LeakedCall();
    call->request.mutable_directives()->set_sleep_ms(sleep_ms);
    stub->async()->Unary(&call->context, &call->request, &call->reply,
                         [](const grpc::Status&) {});
  }
}

int ReachedTheEnd() {
  std::printf("reached the end\n");
  std::fflush(stdout);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string mode = argv[1];

  mesh::v1::Config config;
  mesh::v1::Service& cart = (*config.mutable_services())["cart"];
  for (absl::string_view address : absl::StrSplit(argv[2], ',')) {
    cart.add_endpoints()->set_address(std::string(address));
  }
  if (mode == "waiting") {
    cart.clear_endpoints();
    cart.add_endpoints()->set_address("127.0.0.1:1");  // Nobody listens.
  }
  cart.mutable_policy()->set_idempotent(true);
  if (mode == "retrying") {
    // Most calls wait for their backoff.
    cart.mutable_policy()
        ->mutable_retry()
        ->mutable_initial_backoff()
        ->set_seconds(20);
    cart.mutable_policy()->mutable_retry()->mutable_max_backoff()->set_seconds(
        20);
    cart.mutable_retry_budget()->set_min_per_second(10000);
  }
  auto made = mesh::Mesh::Create(config);
  if (!made.ok()) {
    std::fprintf(stderr, "%s\n", std::string(made.status().message()).c_str());
    return 1;
  }
  std::unique_ptr<mesh::Mesh> mesh = *std::move(made);
  std::unique_ptr<TestService::Stub> stub =
      TestService::NewStub(mesh->Channel("cart"));
  {
    // It runs.
    Call call;
    call.request.mutable_directives()->set_sleep_ms(0);
    const bool ok = stub->Unary(&call.context, call.request, &call.reply).ok();
    if (ok == (mode == "waiting")) return 1;
  }

  if (mode == "callback") {
    StartCallbacks(stub.get(), 20);
    std::exit(ReachedTheEnd());
  }
  if (mode == "queue") {
    auto* const queue = new grpc::CompletionQueue;
    for (int i = 0; i < 20; ++i) {
      Call* const call = LeakedCall();
      call->reader = stub->AsyncUnary(&call->context, call->request, queue);
      call->reader->Finish(&call->reply, &call->status, call);
    }
    std::exit(ReachedTheEnd());
  }
  if (mode == "blocked_thread") {
    TestService::Stub* const raw = stub.release();
    for (int i = 0; i < 5; ++i) {
      std::thread([raw] {
        Call* const call = LeakedCall();
        raw->Unary(&call->context, call->request, &call->reply);
      }).detach();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    std::exit(ReachedTheEnd());
  }
  if (mode == "stream") {
    Call* const call = LeakedCall();
    call->request.mutable_directives()->set_sleep_ms(0);
    call->request.mutable_directives()->set_replies(2);
    call->request.mutable_directives()->set_reply_interval_ms(20000);
    call->stream = stub->ServerStream(&call->context, call->request);
    if (!call->stream->Read(&call->reply)) return 1;
    std::exit(ReachedTheEnd());
  }
  if (mode == "waiting") {
    for (int i = 0; i < 20; ++i) {
      Call* const call = LeakedCall();
      call->context.set_wait_for_ready(true);
      stub->async()->Unary(&call->context, &call->request, &call->reply,
                           [](const grpc::Status&) {});
    }
    std::exit(ReachedTheEnd());
  }
  if (mode == "retrying") {
    for (int i = 0; i < 20; ++i) {
      Call* const call = LeakedCall();
      call->request.mutable_directives()->set_sleep_ms(0);
      call->request.mutable_directives()->set_fail_share(1);
      stub->async()->Unary(&call->context, &call->request, &call->reply,
                           [](const grpc::Status&) {});
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    std::exit(ReachedTheEnd());
  }
  if (mode == "static_mesh") {
    StaticMesh() = std::move(mesh);
    StartCallbacks(stub.get(), 20);
    std::exit(ReachedTheEnd());
  }
  if (mode == "static_channel") {
    StaticMesh() = nullptr;
    StaticChannel() = mesh->Channel("cart");
    mesh.reset();
    StartCallbacks(stub.get(), 20);
    stub.reset();
    std::exit(ReachedTheEnd());
  }
  if (mode == "create_channel") {
    auto own = TestService::NewStub(mesh::CreateChannel(argv[2]));
    StartCallbacks(own.get(), 20);
    std::exit(ReachedTheEnd());
  }
  if (mode == "leaked") {
    StartCallbacks(stub.release(), 20);
    (void)mesh.release();
    std::exit(ReachedTheEnd());
  }
  if (mode == "return_from_main") {
    // Calls that end while all goes.
    StartCallbacks(stub.get(), 20, /*sleep_ms=*/1);
    return ReachedTheEnd();
  }
  if (mode == "quick_exit") {
    StartCallbacks(stub.get(), 20);
    std::quick_exit(ReachedTheEnd());
  }
  if (mode == "forked_child") {
    // The child exits as a program does, destructors and all.
    StaticMesh() = std::move(mesh);
    const pid_t child = fork();
    if (child == 0) std::exit(0);
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0) {
      std::fprintf(stderr, "the child ended with %d\n", status);
      return 1;
    }
    Call call;
    call.request.mutable_directives()->set_sleep_ms(0);
    if (!stub->Unary(&call.context, call.request, &call.reply).ok()) return 1;
    return ReachedTheEnd();
  }
  return 2;
}

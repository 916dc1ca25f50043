// Leaves the process in some way (argv[1]) while calls are in flight to the
// servers (argv[2], separated by commas). The objects that exist then are left
// as an application would leave them: static, leaked or on a thread's stack.

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
#include "absl/strings/string_view.h"
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

// What main has on its stack.
struct Held {
  std::string servers;
  std::unique_ptr<mesh::Mesh> mesh;
  std::unique_ptr<TestService::Stub> stub;
};

int Callback(Held& held) {
  StartCallbacks(held.stub.get(), 20);
  std::exit(ReachedTheEnd());
}

int Queue(Held& held) {
  auto* const queue = new grpc::CompletionQueue;
  for (int i = 0; i < 20; ++i) {
    Call* const call = LeakedCall();
    call->reader = held.stub->AsyncUnary(&call->context, call->request, queue);
    call->reader->Finish(&call->reply, &call->status, call);
  }
  std::exit(ReachedTheEnd());
}

int BlockedThread(Held& held) {
  TestService::Stub* const raw = held.stub.release();
  for (int i = 0; i < 5; ++i) {
    std::thread([raw] {
      Call* const call = LeakedCall();
      raw->Unary(&call->context, call->request, &call->reply);
    }).detach();
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  std::exit(ReachedTheEnd());
}

int Stream(Held& held) {
  Call* const call = LeakedCall();
  call->request.mutable_directives()->set_sleep_ms(0);
  call->request.mutable_directives()->set_replies(2);
  call->request.mutable_directives()->set_reply_interval_ms(20000);
  call->stream = held.stub->ServerStream(&call->context, call->request);
  if (!call->stream->Read(&call->reply)) return 1;
  std::exit(ReachedTheEnd());
}

int Waiting(Held& held) {
  for (int i = 0; i < 20; ++i) {
    Call* const call = LeakedCall();
    call->context.set_wait_for_ready(true);
    held.stub->async()->Unary(&call->context, &call->request, &call->reply,
                              [](const grpc::Status&) {});
  }
  std::exit(ReachedTheEnd());
}

int Retrying(Held& held) {
  for (int i = 0; i < 20; ++i) {
    Call* const call = LeakedCall();
    call->request.mutable_directives()->set_sleep_ms(0);
    call->request.mutable_directives()->set_fail_share(1);
    held.stub->async()->Unary(&call->context, &call->request, &call->reply,
                              [](const grpc::Status&) {});
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  std::exit(ReachedTheEnd());
}

int WithStaticMesh(Held& held) {
  StaticMesh() = std::move(held.mesh);
  StartCallbacks(held.stub.get(), 20);
  std::exit(ReachedTheEnd());
}

int WithStaticChannel(Held& held) {
  StaticMesh() = nullptr;
  StaticChannel() = held.mesh->Channel("cart");
  held.mesh.reset();
  StartCallbacks(held.stub.get(), 20);
  held.stub.reset();
  std::exit(ReachedTheEnd());
}

int CreateChannel(Held& held) {
  auto own = TestService::NewStub(mesh::CreateChannel(held.servers));
  StartCallbacks(own.get(), 20);
  std::exit(ReachedTheEnd());
}

int Leaked(Held& held) {
  StartCallbacks(held.stub.release(), 20);
  (void)held.mesh.release();
  std::exit(ReachedTheEnd());
}

int ReturnFromMain(Held& held) {
  // Calls that end while all goes.
  StartCallbacks(held.stub.get(), 20, /*sleep_ms=*/1);
  return ReachedTheEnd();
}

int QuickExit(Held& held) {
  StartCallbacks(held.stub.get(), 20);
  std::quick_exit(ReachedTheEnd());
}

int ForkedChild(Held& held) {
  // The child exits as a program does, destructors and all.
  StaticMesh() = std::move(held.mesh);
  const pid_t child = fork();
  if (child == 0) std::exit(0);
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) {
    std::fprintf(stderr, "the child ended with %d\n", status);
    return 1;
  }
  Call call;
  call.request.mutable_directives()->set_sleep_ms(0);
  if (!held.stub->Unary(&call.context, call.request, &call.reply).ok()) {
    return 1;
  }
  return ReachedTheEnd();
}

// The ways to leave. What one returns, main does.
struct Mode {
  const char* name;
  int (*leave)(Held& held);
};
constexpr Mode kModes[] = {
    {"callback", Callback},
    {"queue", Queue},
    {"blocked_thread", BlockedThread},
    {"stream", Stream},
    {"waiting", Waiting},
    {"retrying", Retrying},
    {"static_mesh", WithStaticMesh},
    {"static_channel", WithStaticChannel},
    {"create_channel", CreateChannel},
    {"leaked", Leaked},
    {"return_from_main", ReturnFromMain},
    {"quick_exit", QuickExit},
    {"forked_child", ForkedChild},
};

mesh::v1::Config ConfigFor(absl::string_view mode, absl::string_view servers) {
  mesh::v1::Config config;
  mesh::v1::Service& cart = (*config.mutable_services())["cart"];
  for (absl::string_view address : absl::StrSplit(servers, ',')) {
    cart.add_endpoints()->set_address(std::string(address));
  }
  if (mode == "waiting") {
    cart.clear_endpoints();
    cart.add_endpoints()->set_address("127.0.0.1:1");  // Nobody listens.
  }
  cart.mutable_policy()->set_idempotent(true);
  if (mode == "retrying") {
    // Most calls wait for their backoff.
    mesh::v1::RetryPolicy& retry = *cart.mutable_policy()->mutable_retry();
    retry.mutable_initial_backoff()->set_seconds(20);
    retry.mutable_max_backoff()->set_seconds(20);
    cart.mutable_retry_budget()->set_min_per_second(10000);
  }
  return config;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::string mode = argv[1];

  auto made = mesh::Mesh::Create(ConfigFor(mode, argv[2]));
  if (!made.ok()) {
    std::fprintf(stderr, "%s\n", std::string(made.status().message()).c_str());
    return 1;
  }
  Held held;
  held.servers = argv[2];
  held.mesh = *std::move(made);
  held.stub = TestService::NewStub(held.mesh->Channel("cart"));
  {
    // It runs.
    Call call;
    call.request.mutable_directives()->set_sleep_ms(0);
    const bool ok =
        held.stub->Unary(&call.context, call.request, &call.reply).ok();
    if (ok == (mode == "waiting")) return 1;
  }
  for (const Mode& known : kModes) {
    if (mode == known.name) return known.leave(held);
  }
  return 2;
}

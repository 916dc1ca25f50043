// Makes a number of calls in one style over one kind of channel, and nothing
// else, so that its instructions can be counted.
//
//   overhead_client ARM STYLE OUTSTANDING CALLS ADDRESS...
//
// ARM is one of MakeChannel()'s. STYLE is unary_sync, unary_denied (the server
// refuses each call), unary_async, unary_callback, stream_sync, stream_callback
// or stream_callback_short. For
// stream_sync and stream_callback CALLS counts messages there and back on one
// stream; for stream_callback_short it counts streams of one message each way.
// OUTSTANDING is for unary_async, unary_callback and stream_callback_short.
// When linked with the allocation counter it prints the allocations a call,
// after as many calls to warm up.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "benchmarks/overhead/allocation_counter.h"
#include "benchmarks/overhead/arms.h"
#include "benchmarks/overhead/echo.grpc.pb.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/support/async_unary_call.h"
#include "grpcpp/support/client_callback.h"
#include "grpcpp/support/sync_stream.h"
#include "mesh/base/mutex.h"

namespace mesh::benchmarks {

// Absent in the program that callgrind runs.
uint64_t __attribute__((weak)) AllocationCount();

namespace {

using echo::Echo;
using echo::EchoMessage;

constexpr int kPayloadBytes = 64;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "overhead_client: %s\n", what.c_str());
  std::exit(1);
}

void Check(const grpc::Status& status) {
  if (!status.ok()) Die("a call failed: " + status.error_message());
}

// The same in every arm and style.
void SetDeadline(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() +
                        std::chrono::seconds(60));
}

EchoMessage Request() {
  EchoMessage request;
  request.set_payload(std::string(kPayloadBytes, 'x'));
  return request;
}

void UnarySync(Echo::Stub& stub, int, int64_t calls) {
  const EchoMessage request = Request();
  EchoMessage response;
  for (int64_t i = 0; i < calls; ++i) {
    grpc::ClientContext context;
    SetDeadline(&context);
    Check(stub.Unary(&context, request, &response));
  }
}

void CheckDenied(const grpc::Status& status) {
  if (status.error_code() != grpc::StatusCode::PERMISSION_DENIED) {
    Die("a call was not denied: " + status.error_message());
  }
}

void UnaryDenied(Echo::Stub& stub, int, int64_t calls) {
  const EchoMessage request = Request();
  EchoMessage response;
  for (int64_t i = 0; i < calls; ++i) {
    grpc::ClientContext context;
    SetDeadline(&context);
    CheckDenied(stub.Unary(&context, request, &response));
  }
}

void UnaryAsync(Echo::Stub& stub, int outstanding, int64_t calls) {
  struct Call {
    std::optional<grpc::ClientContext> context;
    EchoMessage response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<EchoMessage>> reader;
  };
  const EchoMessage request = Request();
  grpc::CompletionQueue queue;
  std::vector<Call> slots(outstanding);
  int64_t started = 0;
  const auto start = [&](Call* call) {
    if (started == calls) return;
    ++started;
    call->reader.reset();
    call->context.emplace();
    SetDeadline(&*call->context);
    call->reader = stub.AsyncUnary(&*call->context, request, &queue);
    call->reader->Finish(&call->response, &call->status, call);
  };
  for (Call& call : slots) start(&call);
  for (int64_t done = 0; done < calls; ++done) {
    void* tag = nullptr;
    bool ok = false;
    if (!queue.Next(&tag, &ok)) Die("the queue ended");
    Call* call = static_cast<Call*>(tag);
    Check(call->status);
    start(call);
  }
  queue.Shutdown();
}

class UnaryCallbackRun {
 public:
  UnaryCallbackRun(Echo::Stub& stub, int outstanding, int64_t calls)
      : stub_(stub), calls_(calls), slots_(outstanding) {
    for (Call& call : slots_) Start(&call);
    base::MutexLock lock(&mu_);
    while (done_ < calls_) all_done_.Wait(&mu_);
  }

 private:
  struct Call {
    std::optional<grpc::ClientContext> context;
    EchoMessage response;
  };

  void Start(Call* call) {
    {
      base::MutexLock lock(&mu_);
      if (started_ == calls_) return;
      ++started_;
    }
    call->context.emplace();
    SetDeadline(&*call->context);
    stub_.async()->Unary(&*call->context, &request_, &call->response,
                         [this, call](grpc::Status status) {
                           Check(status);
                           Start(call);
                           base::MutexLock lock(&mu_);
                           if (++done_ == calls_) all_done_.Signal();
                         });
  }

  Echo::Stub& stub_;
  const int64_t calls_;
  const EchoMessage request_ = Request();
  std::vector<Call> slots_;

  base::Mutex mu_;
  base::CondVar all_done_;
  int64_t started_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t done_ ABSL_GUARDED_BY(mu_) = 0;
};

void UnaryCallback(Echo::Stub& stub, int outstanding, int64_t calls) {
  UnaryCallbackRun run(stub, outstanding, calls);
}

void StreamSync(Echo::Stub& stub, int, int64_t messages) {
  const EchoMessage request = Request();
  EchoMessage response;
  grpc::ClientContext context;
  SetDeadline(&context);
  auto stream = stub.Stream(&context);
  for (int64_t i = 0; i < messages; ++i) {
    if (!stream->Write(request) || !stream->Read(&response)) break;
  }
  stream->WritesDone();
  Check(stream->Finish());
}

class StreamCallbackRun
    : public grpc::ClientBidiReactor<EchoMessage, EchoMessage> {
 public:
  StreamCallbackRun(Echo::Stub& stub, int64_t messages) : left_(messages) {
    SetDeadline(&context_);
    stub.async()->Stream(&context_, this);
    StartMessage();
    StartCall();
    base::MutexLock lock(&mu_);
    while (!done_) is_done_.Wait(&mu_);
  }

  void OnWriteDone(bool ok) override { Next(ok); }
  void OnReadDone(bool ok) override { Next(ok); }

  void OnDone(const grpc::Status& status) override {
    Check(status);
    if (left_ > 0) Die("the stream ended early");
    base::MutexLock lock(&mu_);
    done_ = true;
    is_done_.Signal();
  }

 private:
  void StartMessage() {
    outstanding_ = 2;
    StartRead(&response_);
    StartWrite(&request_);
  }

  // The message's reply may be there before its write is reported.
  void Next(bool ok) {
    if (!ok || --outstanding_ > 0) return;
    if (--left_ > 0) {
      StartMessage();
    } else {
      StartWritesDone();
    }
  }

  const EchoMessage request_ = Request();
  EchoMessage response_;
  grpc::ClientContext context_;
  std::atomic<int> outstanding_{0};
  int64_t left_;

  base::Mutex mu_;
  base::CondVar is_done_;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
};

void StreamCallback(Echo::Stub& stub, int, int64_t messages) {
  StreamCallbackRun run(stub, messages);
}

// Whole streams of one message each way: write, read, half-close, done.
class ShortStreamsRun {
 public:
  ShortStreamsRun(Echo::Stub& stub, int outstanding, int64_t streams)
      : stub_(stub), streams_(streams) {
    for (int i = 0; i < outstanding; ++i) Start();
    base::MutexLock lock(&mu_);
    while (done_ < streams_) all_done_.Wait(&mu_);
  }

 private:
  // One stream. Deletes itself.
  class Stream final
      : public grpc::ClientBidiReactor<EchoMessage, EchoMessage> {
   public:
    explicit Stream(ShortStreamsRun* run) : run_(run) {
      SetDeadline(&context_);
      run_->stub_.async()->Stream(&context_, this);
      StartWrite(&run_->request_);
      StartRead(&response_);
      StartCall();
    }

    void OnReadDone(bool ok) override {
      if (ok) StartWritesDone();
    }

    void OnDone(const grpc::Status& status) override {
      Check(status);
      ShortStreamsRun* const run = run_;
      delete this;
      run->Start();
      base::MutexLock lock(&run->mu_);
      if (++run->done_ == run->streams_) run->all_done_.Signal();
    }

   private:
    ShortStreamsRun* const run_;
    EchoMessage response_;
    grpc::ClientContext context_;
  };

  void Start() {
    {
      base::MutexLock lock(&mu_);
      if (started_ == streams_) return;
      ++started_;
    }
    new Stream(this);
  }

  Echo::Stub& stub_;
  const int64_t streams_;
  const EchoMessage request_ = Request();

  base::Mutex mu_;
  base::CondVar all_done_;
  int64_t started_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t done_ ABSL_GUARDED_BY(mu_) = 0;
};

void StreamCallbackShort(Echo::Stub& stub, int outstanding, int64_t streams) {
  ShortStreamsRun run(stub, outstanding, streams);
}

struct Style {
  absl::string_view name;
  void (*run)(Echo::Stub& stub, int outstanding, int64_t calls);
  void (*check)(const grpc::Status& status) = Check;  // The first call.
};

constexpr Style kStyles[] = {
    {"unary_sync", UnarySync},
    {"unary_denied", UnaryDenied, CheckDenied},
    {"unary_async", UnaryAsync},
    {"unary_callback", UnaryCallback},
    {"stream_sync", StreamSync},
    {"stream_callback", StreamCallback},
    {"stream_callback_short", StreamCallbackShort},
};

void Connect(Echo::Stub& stub, const Style& style) {
  EchoMessage response;
  grpc::ClientContext context;
  SetDeadline(&context);
  context.set_wait_for_ready(true);
  style.check(stub.Unary(&context, Request(), &response));
}

int Run(int argc, char** argv) {
  int outstanding = 0;
  int64_t calls = 0;
  if (argc < 6 || !absl::SimpleAtoi(argv[3], &outstanding) ||
      !absl::SimpleAtoi(argv[4], &calls) || outstanding < 1 || calls < 1) {
    Die("usage: overhead_client ARM STYLE OUTSTANDING CALLS ADDRESS...");
  }
  Echo::Stub stub(
      MakeChannel(argv[1], std::vector<std::string>(argv + 5, argv + argc)));
  for (const Style& style : kStyles) {
    if (style.name != argv[2]) continue;
    Connect(stub, style);
    if (AllocationCount == nullptr) {
      style.run(stub, outstanding, calls);
      return 0;
    }
    style.run(stub, outstanding, calls);
    // Twice as many cost what once as many do, and the difference is calls.
    const uint64_t before = AllocationCount();
    style.run(stub, outstanding, calls);
    const uint64_t once = AllocationCount() - before;
    style.run(stub, outstanding, 2 * calls);
    const uint64_t twice = AllocationCount() - before - once;
    std::printf("%.3f\n", (static_cast<double>(twice) - once) / calls);
    return 0;
  }
  Die(std::string("STYLE ") + argv[2] + " is unknown");
}

}  // namespace
}  // namespace mesh::benchmarks

int main(int argc, char** argv) { return mesh::benchmarks::Run(argc, argv); }

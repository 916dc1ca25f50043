#include "benchmarks/overload/load.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "mesh/base/clock.h"
#include "mesh/base/mutex.h"
#include "mesh/base/random.h"

namespace mesh::benchmarks {
namespace {

constexpr absl::Duration kLate = absl::Milliseconds(10);

absl::Time Now() { return base::Clock::Real().Now(); }

echo::EchoMessage Request() {
  echo::EchoMessage request;
  request.set_payload(std::string(64, 'x'));
  return request;
}

void SetDeadline(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() +
                        absl::ToChronoMilliseconds(kDeadline));
}

// What became of the calls. Thread-safe.
class Tally {
 public:
  explicit Tally(absl::Time from) : from_(from) {}

  void Add(absl::Time due, bool late, grpc::StatusCode code) {
    if (due < from_) return;
    const absl::Duration latency = Now() - due;
    base::MutexLock lock(&mu_);
    ++result_.calls;
    if (late) ++result_.late;
    switch (code) {
      case grpc::StatusCode::OK:
        ++result_.answered;
        latencies_.push_back(latency);
        break;
      case grpc::StatusCode::RESOURCE_EXHAUSTED:
        ++result_.refused;
        break;
      case grpc::StatusCode::DEADLINE_EXCEEDED:
        ++result_.timed_out;
        break;
      default:
        ++result_.other;
    }
  }

  LoadResult Result() {
    base::MutexLock lock(&mu_);
    LoadResult result = result_;
    if (latencies_.empty()) return result;
    std::sort(latencies_.begin(), latencies_.end());
    result.p50 = latencies_[latencies_.size() / 2];
    result.p99 = latencies_[latencies_.size() * 99 / 100];
    return result;
  }

 private:
  const absl::Time from_;
  base::Mutex mu_;
  LoadResult result_ ABSL_GUARDED_BY(mu_);
  std::vector<absl::Duration> latencies_ ABSL_GUARDED_BY(mu_);
};

struct Call {
  absl::Time due;
  absl::Time start;
  grpc::ClientContext context;
  echo::EchoMessage reply;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<echo::EchoMessage>> reader;
};

}  // namespace

LoadResult OpenLoop(const std::shared_ptr<grpc::ChannelInterface>& channel,
                    Gradient2* limit, double rate, absl::Duration warm_up,
                    absl::Duration measured, uint64_t seed) {
  const std::unique_ptr<echo::Echo::Stub> stub = echo::Echo::NewStub(channel);
  const echo::EchoMessage request = Request();
  grpc::CompletionQueue queue;
  const absl::Time begin = Now();
  Tally tally(begin + warm_up);

  std::thread taker([&] {
    void* tag = nullptr;
    bool ok = false;
    while (queue.Next(&tag, &ok)) {
      const std::unique_ptr<Call> call(static_cast<Call*>(tag));
      tally.Add(call->due, call->start - call->due > kLate,
                call->status.error_code());
      if (limit == nullptr) continue;
      const absl::Time now = Now();
      limit->End(call->status.ok() || call->status.error_code() ==
                                          grpc::StatusCode::DEADLINE_EXCEEDED,
                 now - call->start, now);
    }
  });

  base::Random random(seed);
  absl::Time due = begin;
  while (true) {
    due += absl::Seconds(-std::log(1 - random.Unit()) / rate);
    if (due > begin + warm_up + measured) break;
    const absl::Duration wait = due - Now();
    if (wait > absl::ZeroDuration()) {
      std::this_thread::sleep_for(absl::ToChronoNanoseconds(wait));
    }
    if (limit != nullptr && !limit->TryBegin()) {
      tally.Add(due, Now() - due > kLate, grpc::StatusCode::RESOURCE_EXHAUSTED);
      continue;
    }
    auto call = std::make_unique<Call>();
    call->due = due;
    call->start = Now();
    SetDeadline(&call->context);
    call->reader = stub->PrepareAsyncUnary(&call->context, request, &queue);
    Call* const tag = call.release();
    tag->reader->StartCall();
    tag->reader->Finish(&tag->reply, &tag->status, tag);
  }
  queue.Shutdown();  // Next() hands out what is under way first.
  taker.join();
  return tally.Result();
}

LoadResult ClosedLoop(const std::shared_ptr<grpc::ChannelInterface>& channel,
                      int outstanding, absl::Duration warm_up,
                      absl::Duration measured) {
  const echo::EchoMessage request = Request();
  const absl::Time end = Now() + warm_up + measured;
  Tally tally(Now() + warm_up);
  std::vector<std::thread> callers;
  for (int i = 0; i < outstanding; ++i) {
    callers.emplace_back([&] {
      const std::unique_ptr<echo::Echo::Stub> stub =
          echo::Echo::NewStub(channel);
      while (Now() < end) {
        const absl::Time start = Now();
        grpc::ClientContext context;
        SetDeadline(&context);
        echo::EchoMessage reply;
        const grpc::Status status = stub->Unary(&context, request, &reply);
        tally.Add(start, /*late=*/false, status.error_code());
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  return tally.Result();
}

}  // namespace mesh::benchmarks

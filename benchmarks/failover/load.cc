#include "benchmarks/failover/load.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/client_context.h"

namespace mesh::benchmarks {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kTakers = 2;

absl::Duration Since(SteadyClock::time_point from) {
  return absl::FromChrono(SteadyClock::now() - from);
}

}  // namespace

struct OpenLoop::Call {
  SteadyClock::time_point due;
  absl::Duration late;
  StubPtr stub;  // Its channel is to live as long as the call.
  grpc::ClientContext context;
  test::Reply reply;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<test::Reply>> reader;
};

OpenLoop::OpenLoop(double rate, bool once, std::function<StubPtr()> stub)
    : interval_(absl::Seconds(1 / rate)), once_(once), stub_(std::move(stub)) {
  for (int i = 0; i < kTakers; ++i) {
    takers_.emplace_back([this] { Take(); });
  }
  sender_ = std::thread([this] { Send(); });
}

void OpenLoop::Send() {
  const SteadyClock::time_point start = SteadyClock::now();
  test::Request request;
  request.set_payload(std::string(64, 'x'));
  for (int64_t i = 0; !stopping_; ++i) {
    auto call = std::make_unique<Call>();
    call->due = start + absl::ToChronoNanoseconds(i * interval_);
    std::this_thread::sleep_until(call->due);
    call->late = Since(call->due);
    call->context.set_deadline(
        std::chrono::system_clock::now() +
        absl::ToChronoMicroseconds(kDeadline - call->late));
    call->stub = stub_();
    if (once_) {
      request.mutable_directives()->set_key(absl::StrCat(i));
      call->reader =
          call->stub->PrepareAsyncOnce(&call->context, request, &queue_);
    } else {
      call->reader =
          call->stub->PrepareAsyncUnary(&call->context, request, &queue_);
    }
    Call* const tag = call.release();
    tag->reader->StartCall();
    tag->reader->Finish(&tag->reply, &tag->status, tag);
  }
}

void OpenLoop::Take() {
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
    const std::unique_ptr<Call> call(static_cast<Call*>(tag));
    const absl::Duration latency = Since(call->due);
    const bool late = call->late > kLate;
    base::MutexLock lock(&mu_);
    ++result_.calls;
    result_.late += late;
    result_.latest_start = std::max(result_.latest_start, call->late);
    if (call->status.ok() && !late) {
      latencies_.push_back(latency);
      continue;
    }
    ++result_.failed;
    ++result_.failures[late ? "late start"
                            : absl::StrCat(call->status.error_code(), ": ",
                                           call->status.error_message())];
  }
}

LoadResult OpenLoop::Stop() {
  stopping_ = true;
  if (sender_.joinable()) {
    sender_.join();
    queue_.Shutdown();  // Next() hands out what is under way first.
    for (std::thread& taker : takers_) taker.join();
  }
  base::MutexLock lock(&mu_);
  LoadResult result = result_;
  if (latencies_.empty()) return result;
  std::sort(latencies_.begin(), latencies_.end());
  result.p50 = latencies_[latencies_.size() / 2];
  result.p99 = latencies_[latencies_.size() * 99 / 100];
  result.longest = latencies_.back();
  return result;
}

}  // namespace mesh::benchmarks

#include "benchmarks/outages/load.h"

#include <chrono>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "benchmarks/outages/world.h"

namespace mesh::benchmarks {

namespace {

OpenLoop::Options OptionsWith(absl::Duration deadline) {
  OpenLoop::Options options;
  options.deadline = deadline;
  return options;
}

}  // namespace

struct OpenLoop::Call {
  Outcome outcome;
  StubPtr stub;  // Its channel is to live as long as the call.
  grpc::ClientContext context;
  test::Reply reply;
  grpc::Status status;
  std::unique_ptr<grpc::ClientAsyncResponseReader<test::Reply>> reader;
};

OpenLoop::OpenLoop(double rate, std::function<StubPtr()> stub, Options options)
    : interval_(absl::Seconds(1 / rate)),
      stub_(std::move(stub)),
      options_(std::move(options)),
      start_(Now()) {
  taker_ = std::thread([this] { Take(); });
  sender_ = std::thread([this] { Send(); });
}

OpenLoop::OpenLoop(double rate, std::function<StubPtr()> stub,
                   absl::Duration deadline)
    : OpenLoop(rate, std::move(stub), OptionsWith(deadline)) {}

void OpenLoop::Send() {
  test::Request request;
  request.set_payload(std::string(64, 'x'));
  request.mutable_directives()->set_echo(true);
  const int64_t most = options_.longest / interval_;
  for (int64_t i = 0; i < most && !stopping_; ++i) {
    auto call = std::make_unique<Call>();
    call->outcome.due = start_ + i * interval_;
    absl::SleepFor(call->outcome.due - Now());
    const absl::Duration late = Now() - call->outcome.due;
    call->outcome.late = late > kLate;
    call->context.set_deadline(
        std::chrono::system_clock::now() +
        absl::ToChronoMicroseconds(options_.deadline - late));
    call->stub = stub_();
    call->reader =
        call->stub->PrepareAsyncUnary(&call->context, request, &queue_);
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
    call->outcome.took = Now() - call->outcome.due;
    call->outcome.code = call->status.error_code();
    call->outcome.by = call->reply.seen().server();
    call->outcome.why = call->status.error_message();
    if (options_.taker != nullptr) {
      options_.taker(call->outcome, call->context, call->reply);
      continue;
    }
    base::MutexLock lock(&mu_);
    outcomes_.push_back(std::move(call->outcome));
  }
}

std::vector<Outcome> OpenLoop::Stop() {
  stopping_ = true;
  if (sender_.joinable()) {
    sender_.join();
    queue_.Shutdown();  // Next() hands out what is under way first.
    taker_.join();
  }
  base::MutexLock lock(&mu_);
  return outcomes_;
}

std::string FailuresOf(const std::vector<Outcome>& outcomes) {
  // By code, with the message of the first.
  std::map<int, std::pair<int, std::string>> failures;
  for (const Outcome& outcome : outcomes) {
    if (outcome.ok()) continue;
    std::pair<int, std::string>& of_code =
        failures[outcome.late ? 0 : outcome.code];
    if (of_code.first++ > 0) continue;
    of_code.second = outcome.late ? "late start"
                                  : absl::StrCat("code ", outcome.code, " (",
                                                 outcome.why, ")");
  }
  return absl::StrJoin(failures, ", ", [](std::string* out, const auto& one) {
    absl::StrAppend(out, one.second.first, " x ", one.second.second);
  });
}

// ---------------------------------------------------------------------------
// Closed loops

void Callers::Add(std::vector<ClosedCall> calls, int64_t most) {
  threads_.emplace_back(
      [this, calls = std::move(calls), most] { Run(calls, most); });
}

void Callers::Run(const std::vector<ClosedCall>& calls, int64_t most) {
  for (int64_t i = 0; i < most && !stopping_; ++i) {
    const ClosedCall& call = calls[i % calls.size()];
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         absl::ToChronoMicroseconds(kDeadline));
    test::Request request;
    *request.mutable_directives() = call.directives;
    test::Reply reply;
    const grpc::Status status = call.other_method
                                    ? stub_->Once(&context, request, &reply)
                                    : stub_->Unary(&context, request, &reply);
    (void)status;  // Some are asked to fail.
    ++calls_;
  }
}

void Callers::Wait() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Callers::Stop() {
  stopping_ = true;
  Wait();
}

}  // namespace mesh::benchmarks

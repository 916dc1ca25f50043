#include "mesh/service/live_streams.h"

#include <utility>
#include <vector>

namespace mesh::service {

void LiveStreams::EndCall(grpc_call* call, grpc_status_code status,
                          const char* why) {
  // What gRPC does now may end with Remove().
  grpc_call_cancel_with_status(call, status, why, nullptr);
  grpc_call_unref(call);
}

LiveStreams::LiveStreams(std::shared_ptr<base::Scheduler> control,
                         const base::Clock* clock, End end)
    : control_(std::move(control)), clock_(clock), end_(end) {}

void LiveStreams::Add(LiveStream* stream) {
  base::MutexLock lock(&mu_);
  streams_[stream].id = ++last_id_;
}

void LiveStreams::WatchIdle(LiveStream* stream, absl::Time at) {
  uint64_t id;
  {
    base::MutexLock lock(&mu_);
    const auto found = streams_.find(stream);
    if (found == streams_.end()) return;
    id = found->second.id;
  }
  SetTimer(stream, id, at);
}

void LiveStreams::Remove(LiveStream* stream) {
  base::Scheduler::TimerId timer;
  {
    base::MutexLock lock(&mu_);
    const auto found = streams_.find(stream);
    if (found == streams_.end()) return;
    timer = found->second.timer;
    streams_.erase(found);
    ++waiting_;
    while (asking_ == stream) answered_.Wait(&mu_);
    --waiting_;
  }
  if (timer != 0) control_->Cancel(timer);
}

void LiveStreams::CutOff(const cluster::LiveEndpoint* endpoint, Cause cause) {
  std::vector<std::pair<LiveStream*, uint64_t>> streams;
  {
    base::MutexLock lock(&mu_);
    streams.reserve(streams_.size());
    for (const auto& [stream, entry] : streams_) {
      streams.emplace_back(stream, entry.id);
    }
  }
  std::vector<grpc_call*> cut_off;
  for (const auto& [stream, id] : streams) {
    if (!BeginAsking(stream, id)) continue;
    grpc_call* const call = stream->RefIfOn(endpoint);
    EndAsking();
    if (call != nullptr) cut_off.push_back(call);
  }
  for (grpc_call* call : cut_off) {
    end_(call, GRPC_STATUS_UNAVAILABLE,
         cause == Cause::kRemoved
             ? "mesh: the endpoint was removed, and "
               "connections.drain_timeout is over."
             : "mesh: the identity of this process or of its peer, by which "
               "the connection was made, holds no longer.");
  }
}

bool LiveStreams::BeginAsking(LiveStream* stream, uint64_t id) {
  base::MutexLock lock(&mu_);
  const auto found = streams_.find(stream);
  if (found == streams_.end() || found->second.id != id) return false;
  asking_ = stream;
  return true;
}

void LiveStreams::EndAsking() {
  base::MutexLock lock(&mu_);
  asking_ = nullptr;
  if (waiting_ > 0) answered_.SignalAll();
}

// The thread that has set the last timer may not have noted it yet. It must not
// mistake the next one for it.
bool LiveStreams::Renew(LiveStream* stream, uint64_t* id) {
  base::MutexLock lock(&mu_);
  const auto found = streams_.find(stream);
  if (found == streams_.end() || found->second.id != *id) return false;
  *id = found->second.id = ++last_id_;
  return true;
}

void LiveStreams::SetTimer(LiveStream* stream, uint64_t id, absl::Time at) {
  const base::Scheduler::TimerId timer =
      control_->RunAt(at, [this, stream, id] { AskWhetherIdle(stream, id); });
  {
    base::MutexLock lock(&mu_);
    const auto found = streams_.find(stream);
    if (found != streams_.end() && found->second.id == id) {
      found->second.timer = timer;
      return;
    }
  }
  control_->Cancel(timer);  // Removed meanwhile; or it has run already.
}

void LiveStreams::AskWhetherIdle(LiveStream* stream, uint64_t id) {
  if (!BeginAsking(stream, id)) return;
  grpc_call* idle = nullptr;
  const absl::Time next = stream->CheckIdle(clock_->Now(), &idle);
  EndAsking();
  if (next != absl::InfiniteFuture() && Renew(stream, &id)) {
    SetTimer(stream, id, next);
  }
  if (idle == nullptr) return;
  end_(idle, GRPC_STATUS_DEADLINE_EXCEEDED,
       "mesh: no message came or went for as long as idle_timeout allows.");
}

}  // namespace mesh::service

#include "mesh/service/prober.h"

#include <utility>

#include "grpc/grpc.h"
#include "mesh/grpc/failure.h"

namespace mesh::service {

Prober::~Prober() {
  std::map<const ConnectedEndpoint*, std::shared_ptr<core::RawCall>> probes;
  {
    base::MutexLock lock(&running_->mu);
    probes.swap(running_->probes);
  }
  for (const auto& [endpoint, probe] : probes) probe->Cancel();
}

void Prober::Probe(std::shared_ptr<ConnectedEndpoint> endpoint,
                   const std::string& method,
                   std::function<void(bool answered)> done) {
  grpc_channel* const channel = endpoint->CoreChannel(/*exact=*/false);
  if (channel == nullptr) return done(false);
  const grpc_slice path =
      grpc_slice_from_copied_buffer(method.data(), method.size());
  auto probe = std::make_shared<core::RawCall>(grpc_channel_create_call(
      channel, nullptr, GRPC_PROPAGATE_DEFAULTS, queue_->queue(), path, nullptr,
      gpr_inf_future(GPR_CLOCK_MONOTONIC), nullptr));
  grpc_slice_unref(path);
  {
    base::MutexLock lock(&running_->mu);
    running_->probes[endpoint.get()] = probe;
  }
  core::RawCall::Start(
      probe, {}, /*metadata_flags=*/0, grpc::ByteBuffer(),
      [running = running_, call = probe.get(), endpoint,
       done = std::move(done)] {
        {
          base::MutexLock lock(&running->mu);
          const auto found = running->probes.find(endpoint.get());
          if (found != running->probes.end() && found->second.get() == call) {
            running->probes.erase(found);
          }
        }
        const core::RawAnswer& answer = call->answer();
        done(answer.status.ok() || !core::IsLocal(answer.status, answer.debug));
      });
  // Cancel() may have come before it was in the list.
  if (endpoint->closed()) probe->Cancel();
}

void Prober::Cancel(const ConnectedEndpoint* endpoint) {
  std::shared_ptr<core::RawCall> probe;
  {
    base::MutexLock lock(&running_->mu);
    const auto found = running_->probes.find(endpoint);
    if (found == running_->probes.end()) return;
    probe = found->second;
  }
  probe->Cancel();
}

}  // namespace mesh::service

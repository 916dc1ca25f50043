#include "benchmarks/identity/sightings.h"

#include <cstring>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "benchmarks/outages/world.h"
#include "mesh/certs/authority.h"

namespace mesh::benchmarks {

std::string Sightings::Note(int client_port, int server_port,
                            const grpc::AuthContext& context) {
  const std::vector<grpc::string_ref> found =
      context.FindPropertyValues("x509_pem_cert");
  const absl::string_view pem =
      found.empty() ? absl::string_view()
                    : absl::string_view(found[0].data(), found[0].size());
  const size_t hash = absl::HashOf(pem);
  base::MutexLock lock(&mu_);
  Slot& slot = slots_[static_cast<size_t>(client_port) % slots_.size()];
  if (slot.client_port == client_port && slot.server_port == server_port &&
      slot.certificate == hash) {
    return slot.serial.data();
  }
  slot.client_port = client_port;
  slot.server_port = server_port;
  slot.certificate = hash;
  slot.serial.fill('\0');
  if (!pem.empty()) {
    const absl::StatusOr<std::string> serial = certs::SerialOfPem(pem);
    if (!serial.ok()) Die(serial.status().message());
    std::strncpy(slot.serial.data(), serial->c_str(), slot.serial.size() - 1);
  }
  identity::Sighting sighting;
  sighting.set_client_port(client_port);
  sighting.set_server_port(server_port);
  sighting.set_by_server(end_ == End::kServer);
  sighting.set_serial(slot.serial.data());
  sighting.set_at_ns(absl::ToUnixNanos(Now()));
  if (waiting_.size() < kMostWaiting) waiting_.push_back(std::move(sighting));
  return slot.serial.data();
}

void Sightings::Take(identity::Stats* stats) {
  std::vector<identity::Sighting> taken;
  {
    base::MutexLock lock(&mu_);
    taken.swap(waiting_);
  }
  for (identity::Sighting& sighting : taken) {
    *stats->add_sightings() = std::move(sighting);
  }
}

}  // namespace mesh::benchmarks

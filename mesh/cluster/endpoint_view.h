#ifndef MESH_CLUSTER_ENDPOINT_VIEW_H_
#define MESH_CLUSTER_ENDPOINT_VIEW_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/cluster/health.h"
#include "mesh/cluster/readiness.h"

namespace mesh::cluster {

// What an observer sees of an endpoint: its description, and its state when the
// view was made. A value that is cheap to make and to copy (no string is
// copied). What it points to lives while the event is told, so keep a copy of
// the address, not the view. A default view shows no endpoint.
struct EndpointView {
  // The description that discovery gave when it found the endpoint. Null for no
  // endpoint. The pointer is the view's identity: it is equal in all views of
  // one endpoint, and differs between two that live, even with one address.
  const Endpoint* endpoint = nullptr;
  int64_t in_flight = 0;  // Attempts.
  Readiness readiness = Readiness::kIdle;
  Health health = Health::kHealthy;
  // The part of its picks that it still gets, out of kFullShare.
  uint8_t share = kFullShare;
  bool closed = false;  // It left the set, and no new attempt begins there.

  static constexpr uint8_t kFullShare = 255;

  explicit operator bool() const { return endpoint != nullptr; }
  // Empty for no endpoint.
  absl::string_view address() const {
    return endpoint == nullptr ? absl::string_view() : endpoint->address;
  }
  // Connected, and with its full share.
  bool available() const {
    return readiness == Readiness::kReady && health == Health::kHealthy &&
           share == kFullShare;
  }
  // Whether both show one endpoint, be it at different moments.
  bool SameEndpoint(const EndpointView& other) const {
    return endpoint == other.endpoint;
  }
};

// Endpoints whose views are made when they are asked for. A value that is cheap
// to copy. Use it only while the event that carries it is told.
class EndpointViews {
 public:
  using MakeView = EndpointView (*)(const void* from, size_t index);

  EndpointViews() = default;  // No endpoints.
  EndpointViews(const void* from, size_t size, MakeView make)
      : from_(from), size_(size), make_(make) {}

  size_t size() const { return size_; }
  EndpointView operator[](size_t index) const { return make_(from_, index); }

 private:
  const void* from_ = nullptr;
  size_t size_ = 0;
  MakeView make_ = nullptr;
};

}  // namespace mesh::cluster

#endif  // MESH_CLUSTER_ENDPOINT_VIEW_H_

#ifndef MESH_GRPC_SERVER_CREDENTIALS_H_
#define MESH_GRPC_SERVER_CREDENTIALS_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "grpc/grpc_security.h"
#include "grpcpp/security/auth_metadata_processor.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/support/status.h"

// Credentials of a server that can do what those of gRPC C++ cannot. The pair
// that is shown may change while the server runs, and calls are judged before
// any handler sees them, also where there is no TLS.

namespace mesh::core {

// What a server shows in a handshake, and which clients it admits. PEM. gRPC
// keeps copies of its own.
struct ServerPair {
  std::shared_ptr<const std::string> chain;  // The leaf first. Null: no pair.
  std::shared_ptr<const std::string> key;    // Not encrypted.
  std::shared_ptr<const std::string> client_authorities;
};

// Gives the pair for the handshake that begins. It is called on gRPC's threads,
// one at a time, and must not block. No pair: the last one stays. A pair that
// gRPC refuses leaves the last one, too. No reference to the pair is kept.
using FetchServerPair = std::function<ServerPair()>;

// A call that no handler has seen yet. One of Admit() and Refuse() is to be
// called once, on any thread. A copy stands for the same call.
class ArrivingCall {
 public:
  ArrivingCall(grpc_auth_context* connection, const grpc_metadata* headers,
               size_t header_count, grpc_process_auth_metadata_done_cb done,
               void* done_data)
      : connection_(connection),
        headers_(headers),
        header_count_(header_count),
        done_(done),
        done_data_(done_data) {}

  // All calls of a connection have the same one.
  grpc_auth_context* connection() const { return connection_; }
  // Those of HTTP/2 but :method are among them. Valid until the call is judged.
  const grpc_metadata* headers() const { return headers_; }
  size_t header_count() const { return header_count_; }

  // The call goes on, without the headers `consumed`.
  void Admit(
      const grpc::AuthMetadataProcessor::OutputMetadata& consumed = {}) const;
  // The call ends with `status`. No handler sees it.
  void Refuse(const grpc::Status& status) const;

 private:
  grpc_auth_context* connection_;
  const grpc_metadata* headers_;
  size_t header_count_;
  grpc_process_auth_metadata_done_cb done_;
  void* done_data_;
};

// Judges calls, on gRPC's threads. It must not block.
using JudgeCall = std::function<void(const ArrivingCall&)>;

// TLS. A client must show a certificate that `client_authorities` vouch for.
// `placeholder` is shown until `fetch` gives the first pair: gRPC needs one
// when the server starts. Each new pair has new keys for session tickets.
std::shared_ptr<grpc::ServerCredentials> TlsServerCredentials(
    FetchServerPair fetch, ServerPair placeholder, JudgeCall judge);

// No TLS.
std::shared_ptr<grpc::ServerCredentials> PlaintextServerCredentials(
    JudgeCall judge);

// The certificates that the peer of `connection` has sent: PEM, the leaf first.
// Empty: it has sent none. A peer that resumed a session with a server shows
// its leaf only, because tickets hold no more.
std::string PeerChain(const grpc_auth_context* connection);

// Writes `mark` into `connection` for good, as a property that handlers see.
// The first mark stays. Nobody else may read or write the properties meanwhile.
void Mark(grpc_auth_context* connection, absl::string_view mark);
// Null data: it has none.
absl::string_view MarkOf(const grpc_auth_context* connection);

// Keeps `connection`, and with it its address, for as long as the result lives.
std::shared_ptr<const void> Hold(const grpc_auth_context* connection);

// The first value of a header. Null data: there is none.
absl::string_view FindHeader(const grpc_metadata* headers, size_t count,
                             absl::string_view name);

inline absl::string_view ViewOf(const grpc_slice& slice) {
  return absl::string_view(
      reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slice)),
      GRPC_SLICE_LENGTH(slice));
}

}  // namespace mesh::core

#endif  // MESH_GRPC_SERVER_CREDENTIALS_H_

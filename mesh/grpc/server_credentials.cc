#include "mesh/grpc/server_credentials.h"

#include <utility>
#include <vector>

#include "grpc/grpc.h"
#include "grpc/slice.h"
#include "mesh/base/tsan_notes.h"

namespace mesh::core {
namespace {

constexpr char kMark[] = "mesh_port";

// A pair that gRPC has a copy of. Nothing of it stays here: the key goes when
// who has made the pair lets it go.
class GivenPair {
 public:
  GivenPair() = default;
  explicit GivenPair(const ServerPair& pair)
      : chain_(pair.chain),
        key_(pair.key),
        client_authorities_(pair.client_authorities) {}

  // Whether it is the same object, which is what counts here. No other has its
  // place when it is gone, unlike with its address.
  bool Is(const ServerPair& pair) const {
    return AreOne(chain_, pair.chain) && AreOne(key_, pair.key) &&
           AreOne(client_authorities_, pair.client_authorities);
  }

 private:
  using Text = const std::string;
  static bool AreOne(const std::weak_ptr<Text>& a,
                     const std::shared_ptr<Text>& b) {
    return !a.owner_before(b) && !b.owner_before(a);
  }

  std::weak_ptr<Text> chain_;
  std::weak_ptr<Text> key_;
  std::weak_ptr<Text> client_authorities_;
};

// What the core's credentials hold of ours. gRPC orders what threads do with
// it, and destroys it when no call and no handshake can need it.
struct Door {
  JudgeCall judge;
  // For TLS. The core calls for a pair with a lock held.
  FetchServerPair fetch;
  ServerPair placeholder;  // Until gRPC has it.
  GivenPair given;
  bool started = false;
};

grpc_ssl_server_certificate_config* ConfigOf(const ServerPair& pair) {
  const grpc_ssl_pem_key_cert_pair core_pair = {pair.key->c_str(),
                                                pair.chain->c_str()};
  return grpc_ssl_server_certificate_config_create(
      pair.client_authorities->c_str(), &core_pair, 1);
}

grpc_ssl_certificate_config_reload_status FetchConfig(
    void* state, grpc_ssl_server_certificate_config** config) {
  base::NoteAfter(state);
  auto* const door = static_cast<Door*>(state);
  ServerPair pair;
  if (!door->started) {
    door->started = true;
    pair = std::exchange(door->placeholder, {});
  } else {
    pair = door->fetch();
    const bool whole = pair.chain != nullptr && pair.key != nullptr &&
                       pair.client_authorities != nullptr;
    if (!whole || door->given.Is(pair)) {
      base::NoteBefore(state);
      return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    }
    door->given = GivenPair(pair);
  }
  *config = ConfigOf(pair);
  base::NoteBefore(state);
  return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
}

void ProcessCall(void* state, grpc_auth_context* connection,
                 const grpc_metadata* headers, size_t header_count,
                 grpc_process_auth_metadata_done_cb done, void* done_data) {
  base::NoteAfter(state);
  const ArrivingCall call(connection, headers, header_count, done, done_data);
  const auto* const door = static_cast<const Door*>(state);
  // Before the call goes on: it may be the door's last.
  base::NoteBefore(state);
  door->judge(call);
}

void DestroyDoor(void* state) {
  base::NoteAfter(state);
  delete static_cast<Door*>(state);
}

class CoreServerCredentials final : public grpc::ServerCredentials {
 public:
  // Takes both.
  CoreServerCredentials(grpc_server_credentials* core, Door* door)
      : core_(core) {
    base::NoteBefore(door);
    grpc_server_credentials_set_auth_metadata_processor(
        core_, {&ProcessCall, &DestroyDoor, door});
  }
  ~CoreServerCredentials() override { grpc_server_credentials_release(core_); }

  // Nobody but mesh has these credentials, and it calls no such thing.
  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address,
                      grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), core_);
  }

  grpc_server_credentials* const core_;
};

// The value of the first property `name`. Null: there is none.
const grpc_auth_property* Property(const grpc_auth_context* connection,
                                   const char* name) {
  grpc_auth_property_iterator it =
      grpc_auth_context_find_properties_by_name(connection, name);
  return grpc_auth_property_iterator_next(&it);
}

}  // namespace

void ArrivingCall::Admit(
    const grpc::AuthMetadataProcessor::OutputMetadata& consumed) const {
  std::vector<grpc_metadata> gone;
  gone.reserve(consumed.size());
  for (const auto& [name, value] : consumed) {
    grpc_metadata& header = gone.emplace_back();
    header.key = grpc_slice_from_static_buffer(name.data(), name.size());
    header.value = grpc_slice_from_static_buffer(value.data(), value.size());
  }
  done_(done_data_, gone.data(), gone.size(), nullptr, 0, GRPC_STATUS_OK,
        nullptr);
}

void ArrivingCall::Refuse(const grpc::Status& status) const {
  done_(done_data_, nullptr, 0, nullptr, 0,
        static_cast<grpc_status_code>(status.error_code()),
        status.error_message().c_str());
}

std::shared_ptr<grpc::ServerCredentials> TlsServerCredentials(
    FetchServerPair fetch, ServerPair placeholder, JudgeCall judge) {
  auto* const door = new Door;
  door->judge = std::move(judge);
  door->fetch = std::move(fetch);
  door->placeholder = std::move(placeholder);
  return std::make_shared<CoreServerCredentials>(
      grpc_ssl_server_credentials_create_with_options(
          grpc_ssl_server_credentials_create_options_using_config_fetcher(
              GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY,
              &FetchConfig, door)),
      door);
}

std::shared_ptr<grpc::ServerCredentials> PlaintextServerCredentials(
    JudgeCall judge) {
  auto* const door = new Door;
  door->judge = std::move(judge);
  return std::make_shared<CoreServerCredentials>(
      grpc_insecure_server_credentials_create(), door);
}

std::string PeerChain(const grpc_auth_context* connection) {
  std::string pem;
  const grpc_auth_property* const leaf =
      Property(connection, GRPC_X509_PEM_CERT_PROPERTY_NAME);
  if (leaf == nullptr) return pem;
  pem.assign(leaf->value, leaf->value_length);
  // On a server OpenSSL's chain of the peer begins behind the leaf.
  const grpc_auth_property* const rest =
      Property(connection, GRPC_X509_PEM_CERT_CHAIN_PROPERTY_NAME);
  if (rest != nullptr) pem.append(rest->value, rest->value_length);
  return pem;
}

void Mark(grpc_auth_context* connection, absl::string_view mark) {
  if (Property(connection, kMark) != nullptr) return;
  grpc_auth_context_add_property(connection, kMark, mark.data(), mark.size());
}

absl::string_view MarkOf(const grpc_auth_context* connection) {
  const grpc_auth_property* const mark = Property(connection, kMark);
  return mark == nullptr ? absl::string_view()
                         : absl::string_view(mark->value, mark->value_length);
}

std::shared_ptr<const void> Hold(const grpc_auth_context* connection) {
  // No other function of the public interface takes a reference.
  grpc_auth_metadata_context from = {};
  from.channel_auth_context = connection;
  grpc_auth_metadata_context held = {};
  grpc_auth_metadata_context_copy(&from, &held);
  return std::shared_ptr<const void>(connection, [held](const void*) mutable {
    grpc_auth_metadata_context_reset(&held);
  });
}

absl::string_view FindHeader(const grpc_metadata* headers, size_t count,
                             absl::string_view name) {
  for (size_t i = 0; i < count; ++i) {
    if (ViewOf(headers[i].key) == name) return ViewOf(headers[i].value);
  }
  return absl::string_view();
}

}  // namespace mesh::core

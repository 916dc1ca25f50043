#include "mesh/grpc/auth_context.h"

namespace mesh::core {
namespace {

// Its constructors are protected.
class Iterator final : public grpc::AuthPropertyIterator {
 public:
  Iterator() = default;
  Iterator(const grpc_auth_property* property,
           const grpc_auth_property_iterator* it)
      : AuthPropertyIterator(property, it) {}
};

std::vector<grpc::string_ref> Values(grpc_auth_property_iterator it) {
  std::vector<grpc::string_ref> values;
  while (const auto* property = grpc_auth_property_iterator_next(&it)) {
    values.emplace_back(property->value, property->value_length);
  }
  return values;
}

}  // namespace

bool ConnectionAuthContext::IsPeerAuthenticated() const {
  return grpc_auth_context_peer_is_authenticated(core_) != 0;
}

std::vector<grpc::string_ref> ConnectionAuthContext::GetPeerIdentity() const {
  return Values(grpc_auth_context_peer_identity(core_));
}

std::string ConnectionAuthContext::GetPeerIdentityPropertyName() const {
  const char* const name = grpc_auth_context_peer_identity_property_name(core_);
  return name == nullptr ? "" : name;
}

std::vector<grpc::string_ref> ConnectionAuthContext::FindPropertyValues(
    const std::string& name) const {
  return Values(grpc_auth_context_find_properties_by_name(core_, name.c_str()));
}

grpc::AuthPropertyIterator ConnectionAuthContext::begin() const {
  grpc_auth_property_iterator it = grpc_auth_context_property_iterator(core_);
  const grpc_auth_property* const property =
      grpc_auth_property_iterator_next(&it);
  return property == nullptr ? end() : Iterator(property, &it);
}

grpc::AuthPropertyIterator ConnectionAuthContext::end() const {
  return Iterator();
}

void ConnectionAuthContext::AddProperty(const std::string& key,
                                        const grpc::string_ref& value) {
  grpc_auth_context_add_property(core_, key.c_str(), value.data(),
                                 value.size());
}

bool ConnectionAuthContext::SetPeerIdentityPropertyName(
    const std::string& name) {
  return grpc_auth_context_set_peer_identity_property_name(core_,
                                                           name.c_str()) != 0;
}

}  // namespace mesh::core

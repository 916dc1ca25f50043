#ifndef MESH_GRPC_AUTH_CONTEXT_H_
#define MESH_GRPC_AUTH_CONTEXT_H_

#include <string>
#include <vector>

#include "grpc/grpc_security.h"
#include "grpcpp/security/auth_context.h"

namespace mesh::core {

// What an application's AuthMetadataProcessor sees of a connection. gRPC has
// such a class, but does not export it. A view: `core` must stay.
class ConnectionAuthContext final : public grpc::AuthContext {
 public:
  explicit ConnectionAuthContext(grpc_auth_context* core) : core_(core) {}

  bool IsPeerAuthenticated() const override;
  std::vector<grpc::string_ref> GetPeerIdentity() const override;
  std::string GetPeerIdentityPropertyName() const override;
  std::vector<grpc::string_ref> FindPropertyValues(
      const std::string& name) const override;
  grpc::AuthPropertyIterator begin() const override;
  grpc::AuthPropertyIterator end() const override;
  void AddProperty(const std::string& key,
                   const grpc::string_ref& value) override;
  bool SetPeerIdentityPropertyName(const std::string& name) override;

 private:
  grpc_auth_context* const core_;
};

}  // namespace mesh::core

#endif  // MESH_GRPC_AUTH_CONTEXT_H_

#include "mesh/server/server.h"

#include <memory>

#include "mesh/server/attachment.h"

namespace mesh::server {

std::shared_ptr<Attachment> Attach(grpc::ServerBuilder* builder) {
  std::shared_ptr<ServerAttachment> attachment = Installed(builder);
  if (attachment == nullptr) {
    attachment = std::make_shared<ServerAttachment>();
    Install(builder, attachment);
  }
  return attachment;
}

}  // namespace mesh::server
